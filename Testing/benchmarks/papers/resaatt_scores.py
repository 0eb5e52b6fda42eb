"""How displacements of 2D pairs are judged: as ReSAAtt's authors do, with intervals that know of shared anatomy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from resaatt_pairs import TestPairs
from scipy.stats import t as student
from torch import Tensor

from regcore.data.batch import PairBatch
from regcore.metrics import dsc, folding, ssim, uiqi
from regcore.ops.sampling import warp

QUALITIES = ("ssim", "uiqi", "dice")  # the higher, the better
Scores = Mapping[str, NDArray[np.float64]]


class Interval(TypedDict):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def scored(test: TestPairs, displacements: Sequence[Tensor]) -> dict[str, NDArray[np.float64]]:
    """Return figures of each pair, ``(N,)`` all.

    SSIM, UIQI, the mean Dice of the structures that either slice has, and the pixels that fold in percent: determinants
    below 0 by forward differences, as in the paper.

    Args:
        test: the pairs.
        displacements: ``(1, 2, H, W)`` of each, pixels.
    """
    rows = [_figures(pair, u, test.labels) for pair, u in zip(test.pairs, displacements, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _figures(pair: PairBatch, displacement: Tensor, labels: Sequence[int]) -> dict[str, float]:
    assert pair.fixed_labels is not None
    assert pair.moving_labels is not None
    warped = warp(pair.moving, displacement)
    moved = warp(pair.moving_labels[:, None].float(), displacement, "nearest")[0, 0].round().long()
    overlaps = [value for value in dsc(pair.fixed_labels[0], moved, labels).values() if not math.isnan(value)]
    return {
        "ssim": ssim(pair.fixed[0, 0], warped[0, 0].clamp(0, 1)),
        "uiqi": uiqi(pair.fixed[0, 0], warped[0, 0]),
        "dice": sum(overlaps) / len(overlaps),
        "folding_percent": folding(displacement[0]).forward_strict,
    }


def summary(scores: Scores) -> dict[str, dict[str, float]]:
    """Return mean, median, quartiles and greatest value of each figure, and for folding the share of pairs with any."""
    found = {}
    for name, values in scores.items():
        low, median, high = np.percentile(values, (25, 50, 75))
        one = {"mean": values.mean(), "median": median, "low": low, "high": high, "most": values.max()}
        found[name] = {key: float(value) for key, value in one.items()}
    found["folding_percent"]["share"] = float((scores["folding_percent"] > 0).mean())
    return found


def interval(values: NDArray[np.float64], groups: Sequence[int]) -> Interval:
    """Return the mean over groups and its 95 % interval by Student's distribution.

    Pairs of one group are not independent, so the groups' means count: as many samples as there are groups.

    Args:
        values: ``(N,)``.
        groups: of each; two or more different ones.
    """
    places = np.asarray(groups)
    means = np.array([values[places == group].mean() for group in np.unique(places)])
    half = student.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    middle = float(means.mean())
    return {"mean": middle, "low": float(middle - half), "high": float(middle + half)}


def margins(mine: Scores, other: Scores, groups: Sequence[int]) -> dict[str, Interval]:
    """Return how much higher ``mine`` are than ``other``, pair by pair, for each of `QUALITIES`."""
    return {name: interval(mine[name] - other[name], groups) for name in QUALITIES}
