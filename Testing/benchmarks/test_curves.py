"""What a Dice costs, read off a curve."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent))
    return importlib.import_module("curves")


def test_seconds_are_interpolated_in_the_order_of_the_cost(curves) -> None:
    points = [curves.Point(10.0, 0.8), curves.Point(0.0, 0.4), curves.Point(4.0, 0.6)]
    assert curves.seconds_to_reach(points, 0.7) == pytest.approx(7)
    assert curves.seconds_to_reach(points, 0.45) == pytest.approx(1)
    assert curves.seconds_to_reach(points, 0.6) == 4
    assert curves.seconds_to_reach(points, 0.8) == 10
    assert curves.seconds_to_reach(points, 0.81) is None
    assert curves.seconds_to_reach(points[:1], 0.2) == 10


def test_a_curve_that_falls_again_counts_where_it_first_gets_there(curves) -> None:
    points = [curves.Point(0, 0.4), curves.Point(2, 0.7), curves.Point(3, 0.6), curves.Point(5, 0.8)]
    assert curves.seconds_to_reach(points, 0.65) == pytest.approx(5 / 3)
    assert curves.seconds_to_reach(points, 0.75) == pytest.approx(4.5)


def test_the_ratio_needs_both_starts(curves) -> None:
    zero, network = [curves.Point(0, 0.4), curves.Point(10, 0.8)], [curves.Point(2, 0.7), curves.Point(4, 0.9)]
    found = curves.reached(zero, network, [0.4, 0.6, 0.8, 0.85])
    assert [each.from_network for each in found] == pytest.approx([2, 2, 3, 3.5])
    assert [each.ratio for each in found[1:3]] == pytest.approx([0.4, 0.3])
    assert [each.refinement_ratio for each in found[1:3]] == pytest.approx([0.0, 0.1])
    assert (found[0].ratio, found[0].refinement_ratio) == (None, None)  # the start has it for nothing
    assert (found[3].from_zero, found[3].ratio) == (None, None)


def test_targets_are_closer_together_near_the_best(curves) -> None:
    zero, network = [curves.Point(0, 0.57), curves.Point(9, 0.723)], [curves.Point(1, 0.61)]
    assert curves.targets(zero, network) == [0.6, 0.65, 0.68, 0.69, 0.7, 0.71, 0.72, 0.723]
    assert curves.targets([curves.Point(0, 0.57)], [curves.Point(1, 0.7)])[-1] == 0.7
