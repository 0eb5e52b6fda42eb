"""Tables of a user's own images: which files belong together, and which to learn from.

A CSV file with a header, or a JSON list of objects with the same keys. Paths are relative to the table's folder. Either
one row per image:

``id, image`` and optional ``subject, phase, labels, mask, landmarks, split``

or one row per pair, the columns of ``regcore evaluate`` and a few more:

``id, fixed, moving`` and optional ``subject, fixed_labels, moving_labels, fixed_mask, moving_mask, fixed_landmarks,
moving_landmarks, initial_transform, split``

``subject`` is who is shown (by default the ``id``), ``phase`` such as ED or ES, ``split`` one of ``train`` (the
default), ``validation`` and ``test`` (which training never touches). ``initial_transform`` is an ITK file, from points
of the fixed to points of the moving image, the word ``identity``, or empty where it is not known. A ``mask`` is above 0
where images are compared; ``landmarks`` of two images are the same points in the same order.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "validation", "test")
IDENTITY = "identity"

_FILES = ("labels", "mask", "landmarks")
_IMAGE_COLUMNS = ("id", "image", "subject", "phase", *_FILES, "split")
_PAIR_COLUMNS = (
    *("id", "fixed", "moving", "subject"),
    *(f"{side}_{file}" for file in _FILES for side in ("fixed", "moving")),
    *("initial_transform", "split"),
)


@dataclass(frozen=True)
class ImageFiles:
    """An image and what is known of it.

    Attributes:
        column: what the table calls it: image, fixed or moving.
        image: a file, or a folder with a DICOM series.
        labels: a map of its structures; None: not known.
        mask: where it counts; None: everywhere.
        landmarks: named points; None: none.
    """

    column: str
    image: Path
    labels: Path | None = None
    mask: Path | None = None
    landmarks: Path | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: as a spreadsheet shows it: a CSV file's header is row 1; of JSON, the first object is.
        id: its name.
        subject: who is shown.
        phase: when; may be empty.
        split: one of `SPLITS`.
        images: one image, or the fixed and the moving one.
        initial_transform: of a pair: a file, ``identity``, or None: the middles are brought together.
    """

    number: int
    id: str
    subject: str
    phase: str
    split: str
    images: tuple[ImageFiles, ...]
    initial_transform: Path | str | None = None


@dataclass(frozen=True)
class Manifest:
    """A table of images or of pairs.

    Attributes:
        name: of the file.
        rows: in the order of the file.
        pairs: whether each row is a pair.
    """

    name: str
    rows: tuple[Row, ...]
    pairs: bool


def parse_manifest(path: Path) -> tuple[Manifest, list[str]]:
    """Read a table; no file that it names is opened.

    Returns:
        The table, and one clause for each thing that is wrong with it. Rows without an image are left out.

    Raises:
        ValueError: the file cannot be read, or its columns make neither kind of table.
    """
    records, columns = _records(path)
    pairs = "fixed" in columns or "moving" in columns
    known = _PAIR_COLUMNS if pairs else _IMAGE_COLUMNS
    problems = [_unknown(column, known) for column in columns if column not in known]
    needed = ("id", "fixed", "moving") if pairs else ("id", "image")
    missing = [column for column in needed if column not in columns]
    if missing:
        problems += [f"column {column} is missing" for column in missing]
        raise ValueError("; ".join(problems))
    if not records:
        raise ValueError("; ".join([*problems, "expected one row per image or pair, found none"]))
    rows = []
    for number, record in records:
        empty = [column for column in needed if not record.get(column)]
        problems += [f"row {number}: {column} is empty" for column in empty]
        if "" in record:
            problems.append(f"row {number}: has more cells than there are columns")
        if not empty:
            rows.append(_row(number, record, path.parent, pairs))
    return Manifest(path.name, tuple(rows), pairs), problems + _contradictions(rows)


def no_transform(where: str, cell: str) -> str:
    """Return the sentence about a cell of ``initial_transform`` that is neither a file nor a word."""
    return f"{where}: no such file: {cell}; expected a transform file, the word {IDENTITY}, or nothing"


def _unknown(column: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(column, known, n=1, cutoff=0.6)
    return f"unknown column {column!r}, {f'did you mean {near[0]}?' if near else 'there are ' + ', '.join(known)}"


def _records(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Return the rows that are not empty with their numbers, and the columns; surplus cells are under the name ''."""
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _of_json(text) if path.suffix.lower() == ".json" else _of_csv(text)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError("expected a CSV or JSON file in UTF-8") from error


def _of_csv(text: str) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    header = text.split("\n", 1)[0]
    # Spreadsheets write semicolons where the comma is the decimal sign.
    table = list(csv.reader(io.StringIO(text), delimiter=";" if ";" in header and "," not in header else ","))
    columns = [cell.strip() for cell in table[0]] if table else []
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise ValueError(f"column {twice[0]!r} is there twice")
    records = []
    for number, cells in enumerate(table[1:], start=2):
        values = [cell.strip() for cell in cells]
        if any(values):
            record = dict(zip(columns, values, strict=False))
            surplus = {"": "more"} if any(values[len(columns) :]) else {}
            records.append((number, record | surplus))
    return records, columns


def _of_json(text: str) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON, found an error in line {error.lineno}") from error
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise ValueError("expected a JSON list of objects, one per image or pair")
    columns = list(dict.fromkeys(str(key) for record in content for key in record))
    records = [
        (number, {str(key): "" if value is None else str(value).strip() for key, value in record.items()})
        for number, record in enumerate(content, start=1)
    ]
    return records, columns


def _row(number: int, record: Mapping[str, str], folder: Path, pairs: bool) -> Row:
    def file(column: str) -> Path | None:
        return folder / record[column] if record.get(column) else None

    sides = ("fixed", "moving") if pairs else ("image",)
    images = []
    for side in sides:
        prefix = f"{side}_" if pairs else ""
        images.append(ImageFiles(side, folder / record[side], *(file(prefix + kind) for kind in _FILES)))
    there = record.get("initial_transform", "")
    return Row(
        number,
        record["id"],
        record.get("subject") or record["id"],
        record.get("phase", ""),
        record.get("split") or SPLITS[0],
        tuple(images),
        IDENTITY if there.casefold() == IDENTITY else file("initial_transform"),
    )


def _contradictions(rows: Sequence[Row]) -> list[str]:
    """Return what is wrong between rows, or can be told without opening a file."""
    problems = []
    ids: dict[str, int] = {}
    splits: dict[str, Row] = {}
    files: dict[Path, int] = {}
    labelled = any(image.labels is not None for row in rows for image in row.images)
    for row in rows:
        where = f"row {row.number}"
        if ids.setdefault(row.id, row.number) != row.number:
            problems.append(f"{where}: duplicate id {row.id!r}, as in row {ids[row.id]}")
        if row.split not in SPLITS:
            problems.append(f"{where}: unknown split {row.split!r}, expected {', '.join(SPLITS)}")
        other = splits.setdefault(row.subject, row)
        if other.split != row.split:
            both = f"in {row.split}, in row {other.number} in {other.split}"
            problems.append(f"{where}: subject {row.subject!r} is in two splits: here {both}")
        path = row.images[0].image.resolve()
        if len(row.images) == 1 and files.setdefault(path, row.number) != row.number:
            problems.append(f"{where}: the same image as in row {files[path]}")
        # A loss needs the labels of every pair or of none.
        if labelled and any(files.labels is None for files in row.images):
            problems.append(f"{where}: has no labels, but other rows have")
    return problems
