"""Slices that no training of ReSAAtt has seen: other hearts' cine phantoms, and brains of two label maps held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
from jsonargparse import ArgumentParser
from plan import CONFIGS

from regcore.data.batch import PairBatch
from regcore.data.phantom_source import PhantomSource
from regcore.data.synthesis.label_source import LabelSource
from regcore.training.config import Config
from regcore.training.data import DataConfig

HEARTS, BRAINS = 10, 48  # phantoms, of which each gives eight or nine slices; pairs of slices
_FIRST_HEART = 2_000_000
_BRAIN_SEED = 1000
_CPU = torch.device("cpu")


class TestPairs(NamedTuple):
    """Pairs to judge by.

    Attributes:
        pairs: of one sample each.
        groups: of each pair, what it shares its anatomy with.
        labels: values of the structures whose overlap counts.
    """

    pairs: list[PairBatch]
    groups: list[int]
    labels: tuple[int, ...]


def of_hearts(seeds: Sequence[int]) -> TestPairs:
    """Return the slices of phantoms, end diastole fixed and end systole moving, a group for each heart.

    Args:
        seeds: of the phantoms.
    """
    source = PhantomSource(replace(_data("resaatt_cine").phantom, subjects=1, held_out=0), 0)
    found = [(pair, seed) for seed in seeds for pair in source.pairs_of(seed)]
    return TestPairs([pair for pair, _ in found], [seed for _, seed in found], source.labels)


def of_brains(folder: Path, count: int) -> TestPairs:
    """Return slices of the two held-out label maps, each bent and painted as in training, a group for each pair.

    Args:
        folder: of the label maps.
        count: of pairs.

    Raises:
        ValueError: the maps are missing.
    """
    maps = tuple(str(folder / f"labels_{number}.nii.gz") for number in (15, 16))
    source = LabelSource(replace(_data("resaatt_brain").labels, maps=maps, held_out=()), _BRAIN_SEED)
    return TestPairs([source.draw([number], _CPU) for number in range(count)], list(range(count)), source.labels)


def tested(folder: Path) -> dict[str, TestPairs]:
    """Return those that the page's figures are of.

    Args:
        folder: of the label maps of brains.

    Raises:
        ValueError: the maps are missing.
    """
    return {"cine": of_hearts(range(_FIRST_HEART, _FIRST_HEART + HEARTS)), "brain": of_brains(folder, BRAINS)}


def _data(config: str) -> DataConfig:
    parser = ArgumentParser()
    parser.add_class_arguments(Config, nested_key=None, as_group=False)
    return cast(DataConfig, parser.instantiate(parser.parse_path(CONFIGS / f"{config}.yaml")).data)
