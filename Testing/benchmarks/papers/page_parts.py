"""What the sections of the page share: figures read, tables, verdicts, and how something was measured."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where the benchmarks share their tables

from table import as_markdown

__all__ = ["Figures", "as_markdown", "interval", "measured", "read", "verdict"]

Figures = Mapping[str, Any]

_CONFIDENCE = 0.95


def read(path: Path) -> Any:
    """Return what a JSON file holds; None: there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def verdict(mean: float, low: float, high: float, *, none: str = "no difference that can be told") -> str:
    """Return how much the first is better than the second, with the interval, or that it cannot be told.

    Args:
        mean: of the difference; positive: better.
        low: where its interval begins.
        high: where it ends.
        none: what to say where 0 lies between them.
    """
    if low <= 0 <= high:
        return f"{none} ({low:+.4f} to {high:+.4f})"
    least, most = sorted((abs(low), abs(high)))
    return f"{'better' if mean > 0 else 'worse'} by {abs(mean):.4f} ({least:.4f} to {most:.4f})"


def interval(found: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences; without end for fewer than two."""
    if len(found) < 2:
        return -math.inf, math.inf
    reach = float(t.ppf((1 + _CONFIDENCE) / 2, len(found) - 1)) * stdev(found) / math.sqrt(len(found))
    return mean(found) - reach, mean(found) + reach


def measured(found: Figures, models: Iterable[Figures]) -> str:
    """Return when, on what and with which weights something was measured.

    Args:
        found: ``date``, ``processor``, ``threads`` and ``versions``, by package.
        models: ``file`` and ``sha256`` of each.
    """
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    threads = f"{found['threads']} thread{'s' if found['threads'] > 1 else ''}"
    sums = ", ".join(f"{one['file']} {one['sha256'][:12]}" for one in models)
    return f"{found['date']}, {found['processor']}, {threads}, {versions}; weights (SHA-256): {sums}."
