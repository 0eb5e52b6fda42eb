"""Whether a NIfTI file holds what ITK says it holds: its spacing, all its voxels, and numbers in them."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

_CHUNK = 1 << 20
_HEADER_BYTES = (348, 540)  # first number of NIfTI 1 and 2: tells the byte order


def holds_bytes(path: Path, expected: int) -> bool:
    """Whether ``path``, unpacked if its name ends in .gz, has at least ``expected`` bytes."""
    if path.suffix.lower() != ".gz":
        return path.stat().st_size >= expected
    with path.open("rb") as packed:
        packed.seek(-min(4, path.stat().st_size), 2)
        # A whole gzip file ends in its unpacked length; when that is as expected there is no need to unpack.
        if int.from_bytes(packed.read(4), "little") == expected % (1 << 32):
            return True
    try:
        return _unpacked_bytes(path) >= expected
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return False


def spacings(path: Path, dim: int) -> list[float]:
    """Return the voxel spacing a NIfTI header states; ITK turns 0 into 1 and says nothing.

    Args:
        path: the file.
        dim: number of axes.
    """
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        header = file.read(_HEADER_BYTES[1])
    order = "<" if int.from_bytes(header[:4], "little") in _HEADER_BYTES else ">"
    second = int.from_bytes(header[:4], "little" if order == "<" else "big") == _HEADER_BYTES[1]
    kind, offset = (f"{order}f8", 104) if second else (f"{order}f4", 76)
    return [float(value) for value in np.frombuffer(header, kind, dim + 1, offset)[1:]]


def all_finite(path: Path, offset: int, bits: int) -> bool:
    """Whether no floating-point voxel of a NIfTI file is NaN or infinite; ITK reads those as 0 and says nothing.

    Args:
        path: the file, whole.
        offset: where the voxels begin (bytes).
        bits: 32 or 64 per voxel.
    """
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        order = "<" if int.from_bytes(file.read(4), "little") in _HEADER_BYTES else ">"
        file.read(offset - 4)
        while chunk := file.read(_CHUNK):
            if not np.isfinite(np.frombuffer(chunk, f"{order}f{bits // 8}", len(chunk) // (bits // 8))).all():
                return False
    return True


def _unpacked_bytes(path: Path) -> int:
    total = 0
    with gzip.open(path) as unpacked:
        while chunk := unpacked.read(_CHUNK):
            total += len(chunk)
    return total
