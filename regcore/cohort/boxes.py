"""Box plots as places on a drawing, for a page that needs no plotting library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, NAMES, MARGIN = 560.0, 132.0, 22.0  # of the drawing, of the column of names, right of the axis
ROW, TOP = 30.0, 8.0
_TICKS = 5
_MOST_POINTS = 60
_FINEST = 1e-4  # span of an axis as a share of its values
_NOTHING = 1e-290  # differences whose parts floating point numbers cannot tell apart


@dataclass(frozen=True)
class Series:
    """Figures that make up one box.

    Attributes:
        name: for people.
        kind: what colours it: ``before``, ``run`` or ``other``.
        values: one for each pair.
    """

    name: str
    kind: str
    values: Sequence[float]


@dataclass(frozen=True)
class Box:
    """One box, lying; all numbers but ``number`` are places on the drawing.

    Attributes:
        name: of its series.
        kind: of its series.
        number: of values.
        y: of its middle.
        low: end of the lower whisker, the last value within 1.5 box lengths of the box (Tukey).
        first: first quartile.
        median: of the values.
        third: third quartile.
        high: end of the upper whisker.
        points: ``(x, y)`` of the values; of many, those beyond the whiskers alone.
    """

    name: str
    kind: str
    number: int
    y: float
    low: float
    first: float
    median: float
    third: float
    high: float
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Boxes along one axis.

    Attributes:
        title: what is measured, with its unit.
        note: what to know when reading it.
        boxes: from top to bottom.
        ticks: place along the axis and its label.
        height: of the drawing.
    """

    title: str
    note: str
    boxes: list[Box]
    ticks: list[tuple[float, str]]
    height: float


def chart(title: str, note: str, series: Sequence[Series]) -> Chart:
    """Lay out the boxes of all ``series`` that have values; there must be one."""
    filled = [one for one in series if len(one.values)]
    everything = np.concatenate([np.asarray(one.values, dtype=np.float64) for one in filled])
    steps = ticks(float(everything.min()), float(everything.max()))
    start, length = steps[0], steps[-1] - steps[0]

    def place(value: float) -> float:
        return round(NAMES + (value - start) / length * (WIDTH - NAMES - MARGIN), 2)

    boxes = [_box(one, TOP + ROW * (number + 0.5), place) for number, one in enumerate(filled)]
    digits = max(0, -math.floor(math.log10(steps[1] - steps[0])))
    labels = [(place(step), f"{step:.{digits}f}") for step in steps]
    return Chart(title, note, boxes, labels, TOP + ROW * len(boxes) + 26)


def _box(series: Series, y: float, place: Callable[[float], float]) -> Box:
    values = np.sort(np.asarray(series.values, dtype=np.float64))
    first, median, third = (float(quartile) for quartile in np.quantile(values, [0.25, 0.5, 0.75]))
    reach = 1.5 * (third - first)
    inside = values[(values >= first - reach) & (values <= third + reach)]
    low, high = float(inside[0]), float(inside[-1])
    shown = values if len(values) <= _MOST_POINTS else values[(values < low) | (values > high)]
    return Box(
        series.name,
        series.kind,
        len(values),
        y,
        low=place(low),
        first=place(first),
        median=place(median),
        third=place(third),
        high=place(high),
        # Neighbours lie a little higher or lower, so that equal ones can be told apart.
        points=[(place(float(value)), y + (-3.0, 0.0, 3.0)[n % 3]) for n, value in enumerate(shown)],
    )


def ticks(low: float, high: float) -> list[float]:
    """Return evenly spaced round numbers, at least two, that enclose ``low`` to ``high``."""
    # What differs in its last digits alone is drawn as equal.
    span = max(high - low, _FINEST * max(abs(low), abs(high)))
    span = span if span > _NOTHING else 1.0
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * _TICKS >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
