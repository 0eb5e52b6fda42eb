"""Descriptions and the test of two runs."""

from __future__ import annotations

import itertools
import statistics

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from regcore.cohort.statistics import FEWEST, compare, describe

# Wilcoxon's own kind of case: ranks 1 to 8, those of the negative differences are 1 and 3.
FIRST = {"a": 11.0, "b": 7.0, "c": 13.0, "d": 9.0, "e": 20.0, "f": 15.0, "g": 17.0, "h": 12.0}
SECOND = {"a": 12.0, "b": 5.0, "c": 16.0, "d": 5.0, "e": 15.0, "f": 9.0, "g": 10.0, "h": 4.0, "elsewhere": 1.0}


def test_wilcoxon_is_scipys_on_the_pairs_that_both_have():
    found = compare(FIRST | {"here alone": 5.0}, SECOND)
    theirs = scipy.stats.wilcoxon([FIRST[p] for p in FIRST], [SECOND[p] for p in FIRST])
    assert found.number == 8
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert found.median_difference == 4.5


def test_wilcoxon_is_the_share_of_signs_as_extreme():
    # By definition: the smaller rank sum is 1 + 3 = 4; count the sign patterns with one as small, both tails.
    sums = [sum(rank for rank, s in enumerate(signs, 1) if s) for signs in itertools.product((0, 1), repeat=8)]
    share = sum(min(total, 36 - total) <= 4 for total in sums) / 2**8
    assert compare(FIRST, SECOND).p == pytest.approx(share, rel=1e-12)


def test_equal_pairs_count_as_pairs_but_not_for_the_test():
    same = {f"same{n}": 1.0 for n in range(4)}
    found = compare(FIRST | same, SECOND | same)
    assert (found.number, found.different) == (12, 8)
    assert found.p == compare(FIRST, SECOND).p


def test_too_few_pairs_have_no_p():
    few = {str(n): float(n) for n in range(1, FEWEST)}
    zero = dict.fromkeys(few, 0.0)
    assert compare(few, zero).p is None
    assert compare(few | {"more": 9.0}, zero | {"more": 0.0}).p == pytest.approx(2 / 2**FEWEST)
    assert compare(few, few).p is None
    assert compare({}, few).median_difference is None


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_description_is_the_standard_librarys(values):
    found = describe(values)
    assert found["number"] == len(values)
    assert found["mean"] == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert found["sd"] == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert found["median"] == pytest.approx(statistics.median(values), abs=1e-9)


def test_one_value_has_no_spread_and_none_no_figures():
    assert describe([2.0]) == {"number": 1, "mean": 2.0, "sd": None, "median": 2.0}
    assert describe([]) == {"number": 0, "mean": None, "sd": None, "median": None}
