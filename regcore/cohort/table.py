"""The table of a cohort: one row a pair, checked as a whole before anything runs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from regcore.data.manifest import IDENTITY, no_transform

REQUIRED = ("id", "fixed", "moving")
# What may come in pairs, and the one file that belongs to the pair itself.
OPTIONAL = tuple(f"{side}_{what}" for what in ("labels", "landmarks", "mask") for side in ("fixed", "moving"))
_INITIAL = "initial_transform"
KNOWN = (*REQUIRED, *OPTIONAL, _INITIAL)

_SAFE = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
# A pair's folder must not take the name of the cohort's own files, nor of a device on Windows.
_TAKEN = {"metrics.csv", "summary.json", "report.html", "con", "prn", "aux", "nul"}


@dataclass(frozen=True)
class Case:
    """One pair of a cohort.

    Attributes:
        id: its name, fit for a folder.
        files: column -> file, absolute; always ``fixed`` and ``moving``, the others where the table has them.
        still: whether ``initial_transform`` is the word ``identity``.
    """

    id: str
    files: Mapping[str, Path]
    still: bool = False

    def anonymous(self, sentence: str) -> str:
        """Return ``sentence`` with the names of files in the place of their paths: folders may name a patient."""
        for path in self.files.values():
            sentence = sentence.replace(str(path), path.name)
        for folder in sorted({str(path.parent) for path in self.files.values()}, key=len, reverse=True):
            sentence = sentence.replace(folder, "the folder") if len(folder) > 1 else sentence
        return sentence


def read_cohort(path: Path, fixed_labels_alone: bool = False) -> list[Case]:
    """Read a CSV table of pairs; paths are relative to its folder.

    Args:
        path: the table. Columns ``id, fixed, moving``, those of `OPTIONAL`, and ``initial_transform``: a file, the
            word ``identity``, or nothing.
        fixed_labels_alone: labels of the fixed image may come without those of the moving one.

    Raises:
        ValueError: the table is wrong anywhere; one sentence names every row that is, the header being row 1.
    """
    header, rows = _cells(path)
    problems = list(_header_problems(header))
    if not problems:
        problems += ["there are no pairs below the header"] if not rows else _row_problems(path, header, rows)
    cases = [_case(path, header, cells) for _, cells in rows] if not problems else []
    if not problems:
        problems += _half_given(cases, [number for number, _ in rows], fixed_labels_alone)
    if problems:
        raise ValueError(f"{path.name}: {'; '.join(problems)}")
    return cases


_Rows = list[tuple[int, list[str]]]


def _cells(path: Path) -> tuple[list[str], _Rows]:
    if not path.is_file():
        raise ValueError(f"pairs: no such file: {path.name}; pass a CSV table with the columns {', '.join(REQUIRED)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"pairs: {path.name} is no CSV table in UTF-8: {error}") from error
    header, *rows = lines or [[]]
    return header, [(number, row) for number, row in enumerate(rows, start=2) if any(row)]


def _header_problems(header: list[str]) -> Iterator[str]:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        yield f"row 1: expected the columns {', '.join(REQUIRED)}, found no {', '.join(missing)}"
    unknown = [name or "(no name)" for name in header if name not in KNOWN]
    if unknown:
        yield f"row 1: unknown column {', '.join(unknown)}; there may be {', '.join(KNOWN)}"
    twice = sorted({name for name in header if header.count(name) > 1 and name in KNOWN})
    if twice:
        yield f"row 1: column {', '.join(twice)} comes twice"


def _row_problems(path: Path, header: list[str], rows: _Rows) -> list[str]:
    problems: list[str] = []
    first_rows: dict[str, int] = {}
    for number, cells in rows:
        if len(cells) != len(header):
            problems.append(f"row {number}: expected {len(header)} cells, got {len(cells)}")
            continue
        values = dict(zip(header, cells, strict=True))
        problems += [f"row {number}: {problem}" for problem in _problems_of(path, values)]
        # Upper and lower case make one folder on some systems.
        earlier = first_rows.setdefault(values["id"].casefold(), number)
        if values["id"] and earlier != number:
            problems.append(f"row {number}: id {values['id']} is that of row {earlier} already")
    return problems


def _problems_of(path: Path, values: Mapping[str, str]) -> Iterator[str]:
    for name in REQUIRED:
        if not values[name]:
            yield f"no {name}"
    name = values["id"]
    if name and (not _SAFE.fullmatch(name) or name.casefold() in _TAKEN):
        yield f"id {name!r} is no safe folder name; use letters, digits, '.', '_' and '-'"
    for column, value in values.items():
        if column == "id" or not value:
            continue
        if _is_still(column, value):
            continue
        there = path.parent / value
        # Only images may be folders, of DICOM files.
        if not (there.exists() if column in ("fixed", "moving") else there.is_file()):
            yield no_transform(column, value) if column == _INITIAL else f"{column}: no such file: {value}"


def _is_still(column: str, value: str) -> bool:
    return column == _INITIAL and value.casefold() == IDENTITY


def _case(path: Path, header: list[str], cells: list[str]) -> Case:
    values = dict(zip(header, cells, strict=True))
    still = _is_still(_INITIAL, values.get(_INITIAL, ""))
    named = [name for name in KNOWN[1:] if values.get(name) and not (still and name == _INITIAL)]
    return Case(values["id"], {name: (path.parent / values[name]).resolve() for name in named}, still)


def _half_given(cases: list[Case], numbers: list[int], fixed_labels_alone: bool) -> Iterator[str]:
    for number, case in zip(numbers, cases, strict=True):
        for what in ("labels", "landmarks"):
            given = [side for side in ("fixed", "moving") if f"{side}_{what}" in case.files]
            if len(given) == 1 and not (fixed_labels_alone and what == "labels" and given == ["fixed"]):
                yield f"row {number}: {what} of the {given[0]} image alone; give both or neither"
