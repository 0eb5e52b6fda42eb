"""Dice against CPU seconds: how long a curve takes to reach a value, and two such curves beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Point(NamedTuple):
    """One run: what it cost and what came of it."""

    cpu_s: float
    dice: float


@dataclass(frozen=True)
class Reached:
    """What one Dice costs from either start (CPU seconds); None: it is not reached.

    Attributes:
        dice: the value.
        from_zero: refinement alone.
        from_network: network and refinement.
        network: the network alone.
    """

    dice: float
    from_zero: float | None
    from_network: float | None
    network: float

    @property
    def ratio(self) -> float | None:
        """Seconds from the network over seconds from zero; None where either does not get there or costs nothing."""
        return self.from_network / self.from_zero if self.from_zero and self.from_network is not None else None

    @property
    def refinement_ratio(self) -> float | None:
        """The same of the refinement alone, without the network's seconds."""
        if not self.from_zero or self.from_network is None:
            return None
        return (self.from_network - self.network) / self.from_zero


def seconds_to_reach(points: Sequence[Point], dice: float) -> float | None:
    """Return the least CPU seconds at which the curve through ``points`` has ``dice``; None: it never does.

    Between two points, in the order of their cost, the curve is a straight line.
    """
    before: Point | None = None
    for point in sorted(points):
        if point.dice >= dice:
            if before is None:
                return point.cpu_s
            share = (dice - before.dice) / (point.dice - before.dice)
            return before.cpu_s + share * (point.cpu_s - before.cpu_s)
        before = point
    return None


def targets(zero: Sequence[Point], network: Sequence[Point]) -> list[float]:
    """Return values of Dice above the worst point, up to the best of either start: every 0.05, the last every 0.01.

    One more is the best from zero, to the thousandth below.
    """
    every = [round(100 * point.dice, 6) for point in (*zero, *network)]
    first, last = int(min(every)) + 1, int(max(every))
    best = int(round(1000 * max(point.dice for point in zero), 6)) / 1000
    found = {number / 100 for number in range(first, last + 1) if number % 5 == 0 or number > last - 5}
    return sorted(found | {best})


def reached(zero: Sequence[Point], network: Sequence[Point], wanted: Sequence[float]) -> list[Reached]:
    """Return what each Dice of ``wanted`` costs from either start; the network's curve begins with it alone."""
    alone = min(network).cpu_s
    return [Reached(dice, seconds_to_reach(zero, dice), seconds_to_reach(network, dice), alone) for dice in wanted]
