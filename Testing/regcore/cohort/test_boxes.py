"""Places of box plots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regcore.cohort.boxes import MARGIN, NAMES, WIDTH, Series, chart, ticks


@given(st.floats(-1e5, 1e5), st.floats(0, 1e5))
@example(0.0, 5e-324)
@example(-1e-310, 1e-300)
def test_ticks_enclose_the_values_evenly_and_are_few(low, span):
    found = ticks(low, low + span)
    steps = np.diff(found)
    slack = 1e-6 * steps[0] + 1e-9 * abs(low)
    assert found[0] <= low + slack
    assert found[-1] >= low + span - slack
    assert 2 <= len(found) <= 8
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)


def test_a_box_lies_at_its_quartiles_and_whiskers_leave_outliers_out():
    values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 20.0]
    (box,) = chart("m", "", [Series("one", "run", values), Series("none", "other", [])]).boxes

    def value(place: float) -> float:
        return (place - NAMES) / (WIDTH - NAMES - MARGIN) * 20

    assert value(box.first) == pytest.approx(2, abs=0.01)
    assert value(box.median) == pytest.approx(4, abs=0.01)
    assert value(box.third) == pytest.approx(6, abs=0.01)
    assert value(box.low) == pytest.approx(0, abs=0.01)
    assert value(box.high) == pytest.approx(7, abs=0.01)
    assert value(box.points[-1][0]) == pytest.approx(20, abs=0.01)
    assert box.number == len(box.points) == 9


def test_of_many_values_only_outliers_are_drawn_one_by_one():
    values = [*np.linspace(0, 1, 100), 9.0]
    (box,) = chart("m", "", [Series("one", "run", values)]).boxes
    assert len(box.points) == 1


@pytest.mark.parametrize("values", [[0.0], [3.0, 3.0], [1e-7, 2e-7]])
def test_equal_or_tiny_values_have_an_axis(values):
    drawn = chart("m", "", [Series("one", "run", values)])
    places = [x for x, _ in drawn.ticks]
    assert len({text for _, text in drawn.ticks}) == len(places) >= 2
    assert places[0] <= drawn.boxes[0].median <= places[-1]
