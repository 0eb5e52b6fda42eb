"""Pairs of the handwritten digits that no training has seen, and how a displacement is judged on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regcore.ops.fields import jacobian_determinant
from regcore.ops.sampling import warp

INK = 0.5  # from which a pixel belongs to the digit
_SURE = 1.96  # standard errors on either side: 95 % of a normal distribution


@dataclass(frozen=True)
class Scores:
    """Figures of each pair, ``(N,)`` all.

    Attributes:
        mse: mean squared difference of the images.
        dice: of the ink, pixels above `INK` of the fixed and of the warped image.
        folding_percent: pixels whose Jacobian determinant is 0 or negative.
    """

    mse: NDArray[np.float64]
    dice: NDArray[np.float64]
    folding_percent: NDArray[np.float64]


def partners(digits: NDArray[np.integer], *, same: bool, seed: int) -> NDArray[np.int64]:
    """Return for each image, as the fixed one, another at random as the moving one.

    Args:
        digits: ``(N,)``, which digit each image shows.
        same: it shows the same digit.
        seed: of the choice.

    Raises:
        ValueError: an image has no other that it could be paired with.
    """
    random = np.random.default_rng(seed)
    found = np.empty(len(digits), dtype=np.int64)
    for place, digit in enumerate(digits):
        others = np.flatnonzero(digits == digit) if same else np.arange(len(digits))
        others = others[others != place]
        if not len(others):
            raise ValueError(f"digits: expected another image of {digit} beside number {place}, found none")
        found[place] = random.choice(others)
    return found


def scores(fixed: Tensor, moving: Tensor, displacement: Tensor) -> Scores:
    """Return the figures of pairs after a displacement.

    Args:
        fixed: ``(N, 1, H, W)``, [0, 1].
        moving: likewise.
        displacement: ``(N, 2, H, W)``, pixels.
    """
    warped = warp(moving, displacement)
    ink, warped_ink = ((image > INK).flatten(1) for image in (fixed, warped))
    shared, all_ink = (ink & warped_ink).sum(1).double(), ink.sum(1) + warped_ink.sum(1)
    dice = 2 * shared / all_ink.clamp(min=1)
    folded = (jacobian_determinant(displacement) <= 0).flatten(1).double().mean(1)
    mse = (warped - fixed).double().square().flatten(1).mean(1)
    return Scores(mse.numpy(), dice.numpy(), 100 * folded.numpy())


def mean_of(values: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean over pairs and half the width of its 95 % interval, by the normal distribution.

    Args:
        values: ``(N,)``, 2 or more.
    """
    half = _SURE * values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": float(values.mean()), "half": float(half)}


def margin(better: Scores, than: Scores) -> dict[str, dict[str, float]]:
    """Return by how much the first is better, pair by pair: its mean squared error lower, its Dice higher."""
    return {"mse": mean_of(than.mse - better.mse), "dice": mean_of(better.dice - than.dice)}


def identity(fixed: Tensor) -> Tensor:
    """Return no displacement for images ``(N, 1, H, W)``."""
    return torch.zeros(len(fixed), 2, *fixed.shape[2:])
