"""Named points, and their files: CSV, Slicer's FCSV and Slicer's markups JSON.

Points are LPS millimetres inside regcore; files may hold RAS, and only this module turns one into the other.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regcore.atomic import replacing
from regcore.grid import Matrix

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_AXES = {"x": (0, 1), "y": (1, 1), "z": (2, 1), "l": (0, 1), "p": (1, 1), "s": (2, 1), "r": (0, -1), "a": (1, -1)}
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points with names.

    Attributes:
        points: ``(P, D)`` float64, mm, LPS.
        labels: one name per point.

    Raises:
        ValueError: no points, another dimension than 2 or 3, NaN, or another number of names.
    """

    points: Matrix
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or len(self.points) == 0 or self.points.shape[1] not in (2, 3):
            raise ValueError(f"landmarks: expected points of shape (P, 2) or (P, 3), got {self.points.shape}")
        if len(self.labels) != len(self.points):
            raise ValueError(f"landmarks: expected {len(self.points)} labels, got {len(self.labels)}")
        if not np.isfinite(self.points).all():
            raise ValueError("landmarks: expected finite coordinates (mm), found NaN or infinity")

    @classmethod
    def of(cls, points: Iterable[Sequence[float]], labels: Iterable[str] | None = None) -> Landmarks:
        """Build from any sequences; points are called 1, 2, ... unless named."""
        array = np.asarray(list(points), dtype=np.float64)
        names = tuple(str(n + 1) for n in range(len(array))) if labels is None else tuple(labels)
        return cls(array, names)

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return int(self.points.shape[1])


def read_landmarks(path: str | Path, name: str = "landmarks") -> Landmarks:
    """Read points from CSV, FCSV or markups JSON, chosen by the file's ending.

    CSV columns are ``label,x,y,z``, ``x,y,z`` or ``x,y`` in LPS mm; with a header they are found by name, in any order,
    and ``r,a,s`` means RAS, as in the tables that Slicer exports.

    Args:
        path: the file.
        name: what to call it in messages.

    Raises:
        ValueError: the file is missing, holds no points, uneven rows, or something that is not a finite number.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{name}: no such file: {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        points, labels = _reader(path)(text)
        if not points:
            raise ValueError("expected one point per row, found none")
        return Landmarks.of(points, labels)
    except (ValueError, csv.Error) as error:
        reason = "the file is not text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ValueError(f"{name}: {path.name}: {reason.removeprefix('landmarks: ')}") from error


def write_landmarks(landmarks: Landmarks, path: str | Path) -> None:
    """Write CSV, FCSV or markups JSON, chosen by the file's ending; all three in LPS mm.

    Raises:
        ValueError: the ending is none of them, 2D points for a Slicer file, or the file cannot be written.
    """
    path = Path(path)
    kind = _kind(path)
    if kind != "csv" and landmarks.dim != 3:
        raise ValueError(f"{path.name}: expected 3D points for a Slicer file, got {landmarks.dim}D; write a .csv")
    text = {"csv": _csv_text, "fcsv": _fcsv_text, "json": _json_text}[kind](landmarks)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


_Rows = tuple[list[list[float]], list[str] | None]


def _kind(path: Path) -> str:
    ending = path.suffix.lower().removeprefix(".")
    if ending not in ("csv", "fcsv", "json"):
        raise ValueError(f"expected the ending .csv, .fcsv or .mrk.json, got {path.name!r}")
    return ending


def _reader(path: Path) -> Any:
    return {"csv": _parse_csv, "fcsv": _parse_fcsv, "json": _parse_json}[_kind(path)]


def _parse_csv(text: str) -> _Rows:
    rows = _rows(text)
    if not rows:
        return [], None
    header = [cell.lower() for cell in rows[0]]
    # A row of data may be named like an axis, but then it has numbers too.
    if not any(_is_number(cell) for cell in header):
        if any(cell in _AXES for cell in header):
            return _parse_table(header, rows[1:])
        raise ValueError(f"expected a header with x,y,z or rows of numbers, got {','.join(rows[0])!r}")
    named = len(rows[0]) == 4 or not _is_number(rows[0][0])
    _check_even(rows)
    points = [[_number(cell) for cell in row[named:]] for row in rows]
    return points, [row[0] for row in rows] if named else None


def _parse_table(header: list[str], rows: list[list[str]]) -> _Rows:
    columns = sorted((_AXES[cell][0], n, _AXES[cell][1]) for n, cell in enumerate(header) if cell in _AXES)
    if [axis for axis, _, _ in columns] not in ([0, 1], [0, 1, 2]):
        raise ValueError(f"expected the columns x,y,z (or x,y), got {','.join(header)}")
    _check_even([header, *rows])
    points = [[sign * _number(row[n]) for _, n, sign in columns] for row in rows]
    names = [n for n, cell in enumerate(header) if cell in ("label", "name")]
    return points, [row[names[0]] for row in rows] if names else None


def _parse_fcsv(text: str) -> _Rows:
    system, columns = "0", _FCSV_COLUMNS.split(",")
    for line in text.splitlines():
        key, _, value = line.removeprefix("#").partition("=")
        if line.startswith("#") and key.strip().lower() == "coordinatesystem":
            system = value.strip()
        elif line.startswith("#") and key.strip().lower() == "columns":
            columns = [cell.strip() for cell in value.split(",")]
    if not {"x", "y", "z"} <= set(columns):
        raise ValueError(f"expected the columns x,y,z, got {','.join(columns)}")
    where = [columns.index(axis) for axis in "xyz"]
    at = columns.index("label") if "label" in columns else None
    turn = _to_lps(system)
    points, labels = [], []
    for number, row in enumerate(_rows(text), start=1):
        if len(row) <= max(where):
            raise ValueError(f"expected {len(columns)} columns, point {number} has {len(row)}")
        points.append((turn * [_number(row[n]) for n in where]).tolist())
        labels.append(row[at] if at is not None and at < len(row) else str(number))
    return points, labels


def _parse_json(text: str) -> _Rows:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected markups JSON, found an error in line {error.lineno}") from error
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list):
        raise ValueError("expected Slicer markups JSON, found no list called markups")
    points: list[list[float]] = []
    labels: list[str] = []
    for markup in markups:
        turn = _to_lps(str(markup.get("coordinateSystem", "LPS")))
        for control in markup.get("controlPoints", []):
            # Slicer keeps points that are planned but not placed yet, without a position that means anything.
            if control.get("positionStatus", "defined") not in ("defined", "preview"):
                continue
            position = control.get("position")
            if not isinstance(position, list) or len(position) != 3:
                raise ValueError(f"expected a position of 3 numbers for point {len(points) + 1}, got {position}")
            points.append((turn * [_number(value) for value in position]).tolist())
            labels.append(str(control.get("label") or len(points)))
    return points, labels


def _rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, skipinitialspace=True)]
    return [row for row in rows if any(row)]


def _check_even(rows: list[list[str]]) -> None:
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise ValueError(f"expected {len(rows[0])} columns in every row, row {number} has {len(row)}")


def _to_lps(system: str) -> Matrix:
    if system.upper() in ("LPS", "1"):
        return np.ones(3)
    if system.upper() in ("RAS", "0"):
        return _RAS_TO_LPS
    raise ValueError(f"expected the coordinate system LPS or RAS, got {system!r}")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: object) -> float:
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected a number, got {cell!r}") from error
    if not np.isfinite(value):
        raise ValueError(f"expected finite coordinates (mm), got {cell}")
    return value


def _csv_text(landmarks: Landmarks) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["label", *"xyz"[: landmarks.dim]])
    for label, point in zip(landmarks.labels, landmarks.points.tolist(), strict=True):
        writer.writerow([label, *point])
    return out.getvalue()


def _fcsv_text(landmarks: Landmarks) -> str:
    out = io.StringIO()
    out.write(f"# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = {_FCSV_COLUMNS}\n")
    writer = csv.writer(out, lineterminator="\n")
    for number, (label, point) in enumerate(zip(landmarks.labels, landmarks.points.tolist(), strict=True), start=1):
        writer.writerow([number, *point, 0, 0, 0, 1, 1, 1, 0, label, "", ""])
    return out.getvalue()


def _json_text(landmarks: Landmarks) -> str:
    controls = [
        {"id": str(number), "label": label, "position": point, "positionStatus": "defined"}
        for number, (label, point) in enumerate(zip(landmarks.labels, landmarks.points.tolist(), strict=True), start=1)
    ]
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema"
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": controls,
    }
    content = {"@schema": f"{schema}/markups-schema-v1.0.3.json#", "markups": [markup]}
    return json.dumps(content, indent=2) + "\n"
