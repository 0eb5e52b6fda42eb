"""Whether a file holds all that its header promises."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

_CHUNK = 1 << 20


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


def _unpacked_bytes(path: Path) -> int:
    total = 0
    with gzip.open(path) as unpacked:
        while chunk := unpacked.read(_CHUNK):
            total += len(chunk)
    return total
