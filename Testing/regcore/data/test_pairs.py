"""Pair policies and folds: the same pairs for the same numbers, every pair in turn, no subject on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regcore.data.manifest import ImageFiles, Row
from regcore.data.pairs import OrderedPairs, PairPolicy, held_out


def rows_of(subjects, splits=None, phases=("ED", "ES")):
    """Return one row per subject and phase."""
    rows = []
    for number, subject in enumerate(subjects):
        for phase in phases:
            split = "train" if splits is None else splits[number]
            files = (ImageFiles("image", Path(f"{subject}{phase}")),)
            rows.append(Row(len(rows) + 2, f"{subject}{phase}", subject, phase, split, files))
    return rows


names = st.lists(st.integers(0, 99).map("p{}".format), min_size=2, max_size=9, unique=True)
seeds = st.integers(0, 2**31 - 2)
POLICIES = ("all", "random", "atlas_to_subject", "subject_to_atlas", "within_subject", "phases", "given")


def policy_of(policy, subjects, seed):
    rows = rows_of(subjects)
    return rows, PairPolicy(policy, rows, range(len(rows)), seed, rows[0].id)


@given(st.integers(0, 12))
def test_ordered_pairs_are_all_of_them_once(count):
    among = [3 * n + 1 for n in range(count)]
    pairs = OrderedPairs(among)
    assert sorted(pairs) == sorted((a, b) for a in among for b in among if a != b)
    assert len(pairs) == len(list(pairs))
    assert pairs[1:3] == list(pairs)[1:3]


@pytest.mark.parametrize("policy", POLICIES)
@given(names, seeds, st.lists(st.integers(0, 500), min_size=1, max_size=20))
def test_a_pair_depends_on_seed_and_number_alone(policy, subjects, seed, numbers):
    """Whatever was drawn before, in whatever order, in whatever process."""
    _, once = policy_of(policy, subjects, seed)
    ordered = {number: once.pair_of(number) for number in sorted(numbers)}
    for number in numbers:
        assert policy_of(policy, subjects, seed)[1].pair_of(number) == once.pair_of(number) == ordered[number]


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "random"])
@given(names, seeds, st.integers(0, 3))
def test_each_turn_has_every_pair_once(policy, subjects, seed, turn):
    _, pairs = policy_of(policy, subjects, seed)
    count = len(pairs)
    drawn = [pairs.pair_of(number) for number in range(turn * count, (turn + 1) * count)]
    assert sorted(drawn) == sorted(pairs.pairs)
    assert len(set(drawn)) == count


@given(names, seeds)
def test_policies_pair_what_they_say(subjects, seed):
    count = len(subjects)
    rows, every = policy_of("all", subjects, seed)
    assert len(every) == len(rows) * (len(rows) - 1)
    _, random = policy_of("random", subjects, seed)
    assert all(a != b for a, b in map(random.pair_of, range(50)))
    for policy in ("within_subject", "phases"):
        _, within = policy_of(policy, subjects, seed)
        assert len(within) == 2 * count
        assert all(rows[a].subject == rows[b].subject and a != b for a, b in within.pairs)
    _, onto = policy_of("atlas_to_subject", subjects, seed)
    assert {moving for _, moving in onto.pairs} == {0}
    assert {fixed for fixed, _ in onto.pairs} == set(range(1, len(rows)))
    _, back = policy_of("subject_to_atlas", subjects, seed)
    assert sorted(back.pairs) == sorted((moving, fixed) for fixed, moving in onto.pairs)
    _, as_listed = policy_of("given", subjects, seed)
    assert sorted(as_listed.pairs) == [(n, n) for n in range(len(rows))]


def test_turns_and_seeds_have_orders_of_their_own():
    orders = set()
    for seed in (1, 2):
        _, pairs = policy_of("all", ["a", "b", "c"], seed)
        orders |= {tuple(pairs.pair_of(t * len(pairs) + n) for n in range(len(pairs))) for t in range(3)}
    assert len(orders) == 6


def test_random_pairs_reach_all_of_them():
    _, pairs = policy_of("random", ["a", "b"], 5)
    assert {pairs.pair_of(number) for number in range(400)} == set(pairs.pairs)


def test_processes_share_what_one_would_draw():
    """Rank r of 2 takes its part of each step's numbers (`regcore.training.task`)."""
    _, one = policy_of("all", ["a", "b", "c"], 3)
    ranks = [policy_of("all", ["a", "b", "c"], 3)[1] for _ in range(2)]
    for step in range(20):
        whole = [one.pair_of(4 * step + n) for n in range(4)]
        parts = [[ranks[r].pair_of(4 * step + 2 * r + n) for n in range(2)] for r in range(2)]
        assert whole == parts[0] + parts[1]


@given(names, st.data())
def test_folds_hold_every_subject_out_once(subjects, data):
    folds = data.draw(st.integers(2, len(subjects)))
    rows = rows_of(subjects)
    order = data.draw(st.permutations(rows))
    judged = []
    for fold in range(folds):
        learn, judge = held_out(rows, folds, fold)
        assert sorted(learn + judge) == list(range(len(rows)))
        here, there = ({rows[place].subject for place in part} for part in (learn, judge))
        assert not here & there
        judged += sorted(there)
        # Dealt by name: the order of the table changes nothing.
        assert {order[place].subject for place in held_out(order, folds, fold)[1]} == there
    assert sorted(judged) == sorted(subjects)
    sizes = [len(held_out(rows, folds, fold)[1]) for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 2  # two images per subject


@given(names, st.data())
def test_the_column_splits_subjects(subjects, data):
    kinds = st.sampled_from(["train", "validation", "test"])
    splits = data.draw(st.lists(kinds, min_size=len(subjects), max_size=len(subjects)))
    rows = rows_of(subjects, splits)
    learn, judge = held_out(rows, atlas=rows[0].id)
    assert [rows[place].split for place in learn] == ["train"] * len(learn)
    assert [rows[place].split for place in judge] == ["validation"] * len(judge)
    assert 0 not in learn + judge
    assert len(learn) + len(judge) == sum(row.split != "test" for row in rows[1:])


def test_the_test_split_is_in_no_fold():
    rows = rows_of("abcd", ["train", "test", "train", "train"])
    for fold in range(3):
        learn, judge = held_out(rows, 3, fold)
        assert not {2, 3} & {*learn, *judge}


@pytest.mark.parametrize(
    ("folds", "fold", "atlas", "sentence"),
    [
        (1, 0, "", "folds: expected 2 to 3"),
        (4, 0, "", "folds: expected 2 to 3"),
        (2, 2, "", "fold: expected 0 to 1, got 2"),
        (0, 0, "nobody", "atlas: no row has the id 'nobody'"),
    ],
)
def test_folds_that_cannot_be(folds, fold, atlas, sentence):
    with pytest.raises(ValueError, match=sentence):
        held_out(rows_of("abc"), folds, fold, atlas)


def test_folds_and_a_validation_split_contradict():
    with pytest.raises(ValueError, match="folds: row 4 has the split validation"):
        held_out(rows_of("abc", ["train", "validation", "train"]), 2, 0)


def test_policies_without_a_pair_are_refused():
    rows = rows_of("abc", phases=("ED",))
    for policy, sentence in (
        ("within_subject", "within_subject finds no two images to pair among 3"),
        ("phases", "expected one image of 'a' in the phase ES, found 0"),
        ("atlas_to_subject", "atlas: expected the id of a row, got ''"),
    ):
        with pytest.raises(ValueError, match=sentence):
            PairPolicy(policy, rows, range(3), 0)
    with pytest.raises(ValueError, match="among 1"):
        PairPolicy("all", rows, [1], 0)
