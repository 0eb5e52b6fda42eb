"""What the process takes of the machine's memory, and giving it back."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from pathlib import Path

import torch


def free_memory() -> None:
    """Give back what nothing uses any more, on the GPU too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def used_mb() -> int | None:
    """Return the memory in use: the GPU's, where that works, else the process'; None: not known here."""
    if torch.cuda.is_available() and (held := torch.cuda.memory_allocated()):
        return held >> 20
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that there is too little memory; torch on the CPU and ITK have no class of their own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    signs = ("can't allocate memory", "out of memory", "failed to allocate memory", "bad_alloc", "alloc_failed")
    return isinstance(error, RuntimeError) and any(sign in said for sign in signs)
