"""Synthetic prostate cases for a run: few at a time, each used for some samples and then replaced by a new one.

Which case a sample sees follows from its number alone, so a run that goes on after a stop sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from regcore.data.rigid_cases import RigidCase
from regcore.data.synthesis.prostate import ProstateOptions, synthetic_case
from regcore.data.synthesis.prostate_shape import gland_of_mask

SyntheticShapes = Literal["random", "cases"]

_PLACES = 32  # cases kept
_USES = 16  # numbers that a case is kept for


class SyntheticCases:
    """See the module.

    Args:
        seed: of the run.
        shapes: glands from nothing, or those of ``cases``, bent anew each time.
        cases: real ones; only their glands are looked at.
        options: see `ProstateOptions`.

    Raises:
        ValueError: ``shapes`` is neither, or a gland cannot be used.
    """

    def __init__(
        self,
        seed: int,
        shapes: SyntheticShapes = "random",
        cases: Sequence[RigidCase] = (),
        options: ProstateOptions | None = None,
    ) -> None:
        if shapes not in get_args(SyntheticShapes):
            raise ValueError(f"synthetic_shapes: expected {' or '.join(get_args(SyntheticShapes))}, got {shapes!r}")
        self.seed, self.options = seed, options
        self.glands = [gland_of_mask(case.gland) for case in cases] if shapes == "cases" else None
        self._kept: dict[int, tuple[int, RigidCase]] = {}

    def case_of(self, number: int, device: torch.device | str = "cpu") -> RigidCase:
        """Return the case that sample ``number`` is drawn from, painted on ``device`` if it is not there yet."""
        place, wanted = number % _PLACES, case_number(number)
        kept = self._kept.get(place)
        if kept is None or kept[0] != wanted:
            kept = wanted, synthetic_case(wanted, self.seed, self.glands, device, self.options)
            self._kept[place] = kept
        return kept[1]


def case_number(number: int) -> int:
    """Return which synthetic case sample ``number`` sees.

    Neighbours see different cases, and the places of the pool are renewed one after another, not all at once.
    """
    place, turn = number % _PLACES, number // _PLACES
    return (turn + place % _USES) // _USES * _PLACES + place
