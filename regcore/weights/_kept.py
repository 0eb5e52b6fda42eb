"""Model files that a long-lived process has read before are not read again, as long as they stay as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

_T = TypeVar("_T")

_Stamp = tuple[tuple[str, int, int], ...]

_held: dict[tuple[str, tuple[Path, ...]], tuple[_Stamp, Any]] | None = None


def keep_models() -> None:
    """From now on keep in memory what is read of model files: `load_trained` then returns the same networks again."""
    global _held
    _held = _held if _held is not None else {}


def forget_models() -> None:
    """Let go of what was kept; what is read from now on is kept again."""
    if _held is not None:
        _held.clear()


def kept(what: str, files: Sequence[Path], read: Callable[[], _T]) -> _T:
    """Return what ``read`` makes of ``files``, or made of them before, if size and time of change are still the same.

    Args:
        what: names what is read of the files.
        files: at least one.
        read: called unless its result is held.
    """
    if _held is None:
        return read()
    key, stamp = (what, tuple(files)), _stamp(files)
    before = _held.get(key)
    if before is None or before[0] != stamp:
        before = _held[key] = stamp, read()
    return cast(_T, before[1])


def _stamp(files: Sequence[Path]) -> _Stamp:
    states = [(path.name, path.stat()) for path in files]
    return tuple((name, state.st_mtime_ns, state.st_size) for name, state in states)
