"""Whether the files of a table of images can be learnt from: all that is wrong, at once, before training begins."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from regcore.data.image_cache import ImageCache, Tensors, fingerprint
from regcore.data.manifest import IDENTITY, ImageFiles, Manifest, Row, no_transform, parse_manifest
from regcore.grid import Grid
from regcore.integrity import holds_bytes
from regcore.io import read_image, read_labels, read_transform
from regcore.landmarks import read_landmarks

_SHOWN = 5  # of unknown labels
_COUNTED = 1 << 20  # label values below this are counted one by one
_HEADER_BYTES = (348, 540)  # of NIfTI 1 and 2: the first number of a file


def read_manifest(
    path: str | Path,
    dimensions: int | None = None,
    labels: Collection[int] = (),
    name: str = "manifest",
    cache: ImageCache | None = None,
) -> tuple[Manifest, tuple[int, ...]]:
    """Read a table and look at every file that it names: headers of images, values of label maps.

    Args:
        path: see `regcore.data.manifest`.
        dimensions: of all images; None: of the first one.
        labels: values that label maps may hold besides 0; empty: any.
        name: what to call the table in messages.
        cache: where the values of label maps are kept for the next time; None: nowhere.

    Returns:
        The table, and the label values other than 0 that its maps hold.

    Raises:
        ValueError: one sentence that names every row with a mistake.
    """
    path, cache = Path(path), cache or ImageCache()
    try:
        manifest, problems = parse_manifest(path)
    except ValueError as error:
        raise ValueError(f"{name}: {path.name}: {error}") from error
    found: set[int] = set()
    for row in manifest.rows:
        for files in row.images:
            where = f"row {row.number}: {files.column}"
            try:
                there = image_dimension(files.image, where)
            except ValueError as error:
                problems.append(_clause(error, path))
                continue
            dimensions = dimensions or there
            if there != dimensions:
                problems.append(f"{where}: expected {dimensions}D, {files.image.name} is {there}D")
            problems += [
                _clause(error, path) for error in _attached(row, files, there, _Known(set(labels), found, cache))
            ]
        problems += [_clause(error, path) for error in _transform(row, dimensions or 3)]
        problems += _landmarks_of_pair(row)
    if problems:
        raise ValueError(f"{name}: {path.name}: {'; '.join(sorted(problems, key=_place))}")
    return manifest, tuple(sorted(found))


def image_dimension(path: Path, name: str = "image") -> int:
    """Return the number of axes of an image file; of a NIfTI file only the header is read.

    Raises:
        ValueError: the file is missing, ends early or is no image.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")) or not path.is_file():
        return read_image(path, name).dim
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            header = file.read(_HEADER_BYTES[1])
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{name}: {path.name} is not a NIfTI file that can be read") from error
    order = next((o for o in "<>" if len(header) >= 348 and np.frombuffer(header, f"{o}i4", 1)[0] in _HEADER_BYTES), "")
    if not order:
        raise ValueError(f"{name}: {path.name} is not a NIfTI file that can be read")
    second = int(np.frombuffer(header, f"{order}i4", 1)[0]) == _HEADER_BYTES[1]
    kind, place, bits_at, offset_kind, offset_at = ("i8", 16, 14, "i8", 168) if second else ("i2", 40, 72, "f4", 108)
    counts = np.frombuffer(header, order + kind, 8, place)
    bits = int(np.frombuffer(header, f"{order}i2", 1, bits_at)[0])
    offset = int(np.frombuffer(header, order + offset_kind, 1, offset_at)[0])
    axes = int(counts[0])
    if not 1 <= axes <= 7 or min(counts[1 : axes + 1]) < 1:
        raise ValueError(f"{name}: {path.name} is not a NIfTI file that can be read")
    if not holds_bytes(path, offset + int(np.prod(counts[1 : axes + 1], dtype=np.int64)) * bits // 8):
        raise ValueError(f"{name}: {path.name} ends before its last voxel; copy or download it again")
    while axes > 3 and counts[axes] == 1:
        axes -= 1
    return axes


class _Known(NamedTuple):
    """Label values that may be there (empty: any), those found so far, and where they are kept."""

    allowed: set[int]
    found: set[int]
    cache: ImageCache


def _attached(row: Row, files: ImageFiles, dimensions: int, known: _Known) -> Iterator[ValueError]:
    """Yield what is wrong with an image's labels, mask and landmarks; add the labels that it has."""
    prefix = f"row {row.number}: " + ("" if files.column == "image" else f"{files.column}_")
    if files.labels is not None:
        try:
            values, there = _values(files.labels, f"{prefix}labels", known.cache)
            known.found.update(values)
            unknown = [value for value in values if (value not in known.allowed if known.allowed else value < 0)]
            if unknown:
                shown = ", ".join(map(str, unknown[:_SHOWN])) + (", ..." if len(unknown) > _SHOWN else "")
                raise ValueError(f"{prefix}labels: unknown label {shown} in {files.labels.name}")
            _same(there, dimensions, files.labels, f"{prefix}labels")
        except ValueError as error:
            yield error
    try:
        if files.mask is not None:
            _same(image_dimension(files.mask, f"{prefix}mask"), dimensions, files.mask, f"{prefix}mask")
    except ValueError as error:
        yield error
    try:
        if files.landmarks is not None:
            points = read_landmarks(files.landmarks, f"{prefix}landmarks")
            _same(points.dim, dimensions, files.landmarks, f"{prefix}landmarks")
    except ValueError as error:
        yield error


def _landmarks_of_pair(row: Row) -> Iterator[str]:
    """Yield what is wrong between the landmarks of a pair's two images; files that cannot be read have been named."""
    given = [files for files in row.images if files.landmarks is not None]
    if len(row.images) < 2 or not given:
        return
    if len(given) == 1:
        yield f"row {row.number}: landmarks of the {given[0].column} image alone; give both or neither"
        return
    with contextlib.suppress(ValueError):
        fixed, moving = (len(read_landmarks(files.landmarks).points) for files in given if files.landmarks)
        if fixed != moving:
            yield f"row {row.number}: expected as many moving as fixed landmarks, got {fixed} fixed and {moving} moving"


def _values(path: Path, name: str, cache: ImageCache) -> tuple[list[int], int]:
    """Return the values but 0 of a label map in rising order, and its number of axes."""

    def read() -> Tensors:
        image = read_labels(path, name)
        data = image.data.flatten()
        # Sorting millions of voxels takes far longer than counting them.
        few = int(data.min()) >= 0 and int(data.max()) < _COUNTED
        values = torch.bincount(data).nonzero()[:, 0] if few else torch.unique(data)
        return {"values": values[values != 0], "dimensions": torch.tensor(image.dim)}

    known = cache.get(fingerprint([path], {"kept": "values"}), read) if path.exists() else read()
    return known["values"].tolist(), int(known["dimensions"])


def _transform(row: Row, dimensions: int) -> Iterator[ValueError]:
    if row.initial_transform is None or row.initial_transform == IDENTITY:
        return
    where = f"row {row.number}: initial_transform"
    try:
        if not Path(row.initial_transform).is_file():
            raise ValueError(no_transform(where, Path(row.initial_transform).name))
        read_transform(row.initial_transform, Grid.of([2] * dimensions), where)
    except ValueError as error:
        yield error


def _same(there: int, dimensions: int, path: Path, name: str) -> None:
    if there != dimensions:
        raise ValueError(f"{name}: expected {dimensions}D as the image, {path.name} is {there}D")


def _clause(error: ValueError, manifest: Path) -> str:
    """Return a message with files named as the table names them."""
    return str(error).replace(f"{manifest.parent}/", "")


def _place(problem: str) -> int:
    """Return the row that a clause is about; 0: none."""
    return int(problem.split(":")[0].removeprefix("row ")) if problem.startswith("row ") else 0
