"""How the C library treats memory that was freed."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_MOST = 1 << 30  # bytes: larger pieces still go back at once


def keep_freed_memory() -> bool:
    """Keep memory that was freed for what comes next; whether that could be asked for.

    A step on the processor frees hundreds of MB and wants them back. By default glibc returns large pieces to the
    system, which hands them out again page by page, filled with zeros: a fifth of the time of a registration, up to
    two fifths of that of training a small network.
    """
    if not sys.platform.startswith("linux"):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is None:  # another C library
        return False
    return bool(tell(_MMAP_THRESHOLD, _MOST)) and bool(tell(_TRIM_THRESHOLD, 2 * _MOST - 1))
