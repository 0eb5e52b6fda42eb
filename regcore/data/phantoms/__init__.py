"""Generated image pairs whose true transform is known exactly, made from formulas and a seed."""

from __future__ import annotations

from collections.abc import Callable

from regcore.data.phantoms.brain import brain
from regcore.data.phantoms.cine import cine
from regcore.data.phantoms.digits import digits
from regcore.data.phantoms.pair import Phantom, write_phantom
from regcore.data.phantoms.prostate import prostate

__all__ = ["Phantom", "list_phantoms", "make_phantom", "write_phantom"]

_KINDS: dict[str, Callable[[int], Phantom]] = {
    "brain": brain,
    "cine": cine,
    "digits": digits,
    "prostate": prostate,
}


def list_phantoms() -> list[str]:
    """Return the kinds that `make_phantom` knows."""
    return sorted(_KINDS)


def make_phantom(kind: str, seed: int = 0) -> Phantom:
    """Make a pair; the same seed gives the same voxels.

    Args:
        kind: one of `list_phantoms`.
        seed: 0 or more; another number gives other anatomy, motion and noise.

    Raises:
        ValueError: an unknown kind or a negative seed.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind: expected one of {', '.join(list_phantoms())}, got {kind!r}")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}")
    return _KINDS[kind](seed)
