"""Which images are registered to which: pairs by number, and subjects that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from regcore.data.batch import generator
from regcore.data.manifest import Row
from regcore.data.synthesis.noise import choice

Policy = Literal["all", "random", "atlas_to_subject", "subject_to_atlas", "within_subject", "phases", "given"]

_FOLD_SEED = 0  # of the shuffle before subjects are dealt out: the same folds in every run
_ORDER = 1 << 40  # added to a run's seed for the order of pairs, so that nothing else draws the same numbers


class PairPolicy:
    """The pairs among some rows, by sample number.

    ``random`` draws each pair by itself. All others go through every pair once, in an order of its own each time.

    Args:
        policy: ``all`` ordered pairs of two images; ``random`` ones of them; ``atlas_to_subject``, one image moving
            onto every other, and ``subject_to_atlas``, the other way round; ``within_subject``, all ordered pairs of
            one subject's images; ``phases``, two named ones of every subject, both ways; ``given``, the rows
            themselves.
        rows: of the table.
        among: places in ``rows`` of what is paired; the atlas may be left out.
        seed: of the run.
        atlas: id of the atlas.
        phases: names of the two.

    Raises:
        ValueError: there is no pair, no such atlas, or a subject lacks a phase.
    """

    def __init__(
        self,
        policy: Policy,
        rows: Sequence[Row],
        among: Sequence[int],
        seed: int,
        atlas: str = "",
        phases: tuple[str, str] = ("ED", "ES"),
    ) -> None:
        self.policy, self.seed = policy, seed
        self.pairs = _pairs(policy, rows, among, atlas, phases)
        if not self.pairs:
            raise ValueError(f"pairs: {policy} finds no two images to pair among {len(among)}; choose another policy")
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """Return how many different pairs there are."""
        return len(self.pairs)

    def pair_of(self, number: int) -> tuple[int, int]:
        """Return the places of fixed and moving image in the table for sample ``number``, 0 or more."""
        if self.policy == "random":
            return self.pairs[choice(len(self.pairs), generator(self.seed + _ORDER, number))]
        turn, place = divmod(number, len(self.pairs))
        # Numbers come in order: the last turn's permutation is nearly always the one that is needed.
        if self._order is None or self._order[0] != turn:
            random = generator(self.seed + _ORDER, turn)
            self._order = (turn, torch.randperm(len(self.pairs), generator=random))
        return self.pairs[int(self._order[1][place])]


class OrderedPairs(Sequence[tuple[int, int]]):
    """All ordered pairs of two different places, made when asked for: of 2000 images there are 4 million."""

    def __init__(self, among: Sequence[int]) -> None:
        self.among = among

    def __len__(self) -> int:
        return len(self.among) * (len(self.among) - 1)

    @overload
    def __getitem__(self, place: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, place: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        first, second = divmod(place, len(self.among) - 1)
        return self.among[first], self.among[second + (second >= first)]


def held_out(rows: Sequence[Row], folds: int = 0, fold: int = 0, atlas: str = "") -> tuple[list[int], list[int]]:
    """Return the places of the rows to learn from and of those to judge by.

    The column ``split`` says which; with ``folds``, the subjects outside ``test`` are dealt out instead, so that each
    is held out in one fold. The atlas is in neither part.

    Args:
        rows: of the table.
        folds: number of folds, 2 or more; 0: by the column.
        fold: which one is held out, from 0.
        atlas: id of the atlas; empty: there is none.

    Raises:
        ValueError: numbers that do not fit, folds of a table that says what to judge by, no such atlas.
    """
    if atlas and atlas not in {row.id for row in rows}:
        raise ValueError(f"atlas: no row has the id {atlas!r}")
    usable = [place for place, row in enumerate(rows) if row.split != "test" and row.id != atlas]
    if not folds:
        judge = {rows[place].subject for place in usable if rows[place].split == "validation"}
    else:
        judge = set(_fold(rows, usable, folds, fold))
    learn = [place for place in usable if rows[place].subject not in judge]
    return learn, [place for place in usable if rows[place].subject in judge]


def _fold(rows: Sequence[Row], usable: Sequence[int], folds: int, fold: int) -> list[str]:
    said = [rows[place].number for place in usable if rows[place].split == "validation"]
    if said:
        raise ValueError(f"folds: row {said[0]} has the split validation; leave the column empty, or folds at 0")
    subjects = sorted({rows[place].subject for place in usable})
    if not 2 <= folds <= len(subjects):
        raise ValueError(f"folds: expected 2 to {len(subjects)}, the number of subjects, got {folds}")
    if not 0 <= fold < folds:
        raise ValueError(f"fold: expected 0 to {folds - 1}, got {fold}")
    order = torch.randperm(len(subjects), generator=generator(_FOLD_SEED, 0)).tolist()
    return [subjects[place] for place in order[fold::folds]]


def _pairs(
    policy: Policy, rows: Sequence[Row], among: Sequence[int], atlas: str, phases: tuple[str, str]
) -> Sequence[tuple[int, int]]:
    if policy in ("all", "random"):
        return OrderedPairs(among)
    if policy == "given":
        return [(place, place) for place in among]
    if policy in ("atlas_to_subject", "subject_to_atlas"):
        there = next((place for place, row in enumerate(rows) if row.id == atlas), None)
        if there is None:
            raise ValueError(f"atlas: expected the id of a row, got {atlas!r}")
        subjects = [place for place in among if place != there]
        return [(place, there) if policy == "atlas_to_subject" else (there, place) for place in subjects]
    of_subject: dict[str, list[int]] = {}
    for place in among:
        of_subject.setdefault(rows[place].subject, []).append(place)
    if policy == "within_subject":
        return [pair for places in of_subject.values() for pair in OrderedPairs(places)]
    return [pair for places in of_subject.values() for pair in OrderedPairs(_phases(rows, places, phases))]


def _phases(rows: Sequence[Row], places: Sequence[int], phases: tuple[str, str]) -> list[int]:
    chosen = []
    for phase in phases:
        fits = [place for place in places if rows[place].phase == phase]
        if len(fits) != 1:
            subject = rows[places[0]].subject
            raise ValueError(f"phases: expected one image of {subject!r} in the phase {phase}, found {len(fits)}")
        chosen.append(fits[0])
    return chosen
