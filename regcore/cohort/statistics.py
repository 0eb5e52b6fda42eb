"""What a cohort's figures come to, and whether two methods differ on the pairs that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# With fewer differences no outcome whatever has a two-sided p below 0.05: 2 / 2 ** 5 = 0.0625.
FEWEST = 6


def describe(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return ``number``, ``mean``, ``sd`` (of the sample, n - 1) and ``median``; None for what is not defined."""
    figures = np.asarray(values, dtype=np.float64)
    if len(figures) == 0:
        return {"number": 0, "mean": None, "sd": None, "median": None}
    return {
        "number": len(figures),
        "mean": float(figures.mean()),
        "sd": float(figures.std(ddof=1)) if len(figures) > 1 else None,
        "median": float(np.median(figures)),
    }


@dataclass(frozen=True)
class Comparison:
    """Two runs' figures on the pairs that both have.

    Attributes:
        number: of such pairs.
        different: pairs among them whose figures are not equal.
        median_difference: median over the pairs of the first run minus the second; None without pairs.
        p: two-sided, of Wilcoxon's signed-rank test; None for fewer than `FEWEST` pairs that differ.
    """

    number: int
    different: int
    median_difference: float | None
    p: float | None


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> Comparison:
    """Compare two runs pair by pair.

    Args:
        first: pair -> figure.
        second: pair -> figure of the other run; pairs that only one has are left out.

    Reference:
        Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945; equal pairs are dropped.
    """
    # Slow to import, and needed by few commands.
    from scipy.stats import wilcoxon

    both = [pair for pair in first if pair in second]
    differences = np.array([first[pair] - second[pair] for pair in both])
    changed = differences[differences != 0]
    p = float(wilcoxon(changed).pvalue) if len(changed) >= FEWEST else None
    return Comparison(len(both), len(changed), float(np.median(differences)) if both else None, p)
