"""What deformable networks are trained with: numbered samples, each a function of a seed and its number alone.

A run that is killed and goes on, or that is spread over several processes, then sees what one undisturbed process sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

HELD_OUT_SEED = 2_147_483_647  # of the pairs to judge by; no run has it

_MIX = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: neighbouring numbers get unlike seeds
_WORD = 2**64


class PairBatch(NamedTuple):
    """Pairs of images on one grid and what is known of them.

    Attributes:
        fixed: ``(N, 1, *size)``, float32, [0, 1].
        moving: as ``fixed``.
        fixed_labels: ``(N, *size)``, int64, 0 is background; None: not known.
        moving_labels: the same structures in the moving images.
        mask: ``(N, 1, *size)``, float32 of 0 and 1, where the fixed image counts; None: everywhere.
        displacement: ``(N, D, *size)``, float32, voxels, the true one; None: not known.
        moving_mask: as ``mask``, where the moving image counts; both are known or neither.
        fixed_points: ``(N, P, D)``, float32, landmarks in voxels, component order = axis order; NaN where a sample has
            fewer; None: not known. Of held-out pairs alone.
        moving_points: the same landmarks in the moving images.
    """

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    mask: Tensor | None = None
    displacement: Tensor | None = None
    moving_mask: Tensor | None = None
    fixed_points: Tensor | None = None
    moving_points: Tensor | None = None


class PairSource(Protocol):
    """Where pairs come from.

    Attributes:
        dimensions: number of spatial axes.
        size: voxels per axis, in array order.
        spacing_mm: edge of a voxel.
        labels: values of the structures whose overlap counts; empty: none are known.
    """

    dimensions: int
    size: tuple[int, ...]
    spacing_mm: float
    labels: tuple[int, ...]

    def draw(self, numbers: Sequence[int], device: torch.device) -> PairBatch:
        """Return the samples of these numbers, 0 or more, on ``device``; the same ones at every call."""
        ...

    def validation(self, device: torch.device) -> Iterator[PairBatch]:
        """Yield the held-out pairs, the same ones at every call; there may be none."""
        ...

    def describe(self) -> dict[str, object]:
        """Return what a reader of the trained model should know of the data, as plain numbers, strings and lists."""
        ...


def generator(seed: int, number: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the random numbers of sample ``number`` in the run with ``seed``."""
    mixed = (seed * _MIX + number + 1) * _MIX % _WORD
    return torch.Generator(device).manual_seed((mixed ^ mixed >> 31) % 2**63)


def stacked(pairs: Sequence[PairBatch]) -> PairBatch:
    """Join batches, all of which know the same things, into one."""
    columns = (None if parts[0] is None else torch.cat(parts) for parts in zip(*pairs, strict=True))
    return PairBatch(*columns)  # type: ignore[arg-type]


def to_device(batch: PairBatch, device: torch.device) -> PairBatch:
    """Return the batch on another device."""
    return PairBatch(*(None if part is None else part.to(device) for part in batch))  # type: ignore[arg-type]
