"""What a quality makes of refinement."""

import pytest
import torch

import regcore.steps
from regcore.pipeline import register
from regcore.preprocess import Inputs
from regcore.settings import Settings


@pytest.fixture
def options_of(monkeypatch, blob, awkward_grids):
    """Return the options that refinement gets."""
    seen = []

    def refine(fixed, moving, initial, *, options, **_):
        seen.append(options)
        return torch.zeros(1, fixed.ndim - 2, *fixed.shape[2:])

    monkeypatch.setattr(regcore.steps, "refine", refine)
    image = blob(awkward_grids["plain"])

    def options(**choices):
        register(Inputs(image, image), Settings(init=("none",), inverse=False, **choices))
        return seen[-1]

    return options


def test_fast_stops_at_half_the_resolution(options_of):
    usual, fast = options_of(), options_of(quality="fast")
    assert (usual.finest, fast.finest) == (1, 2)
    assert fast.iterations == usual.iterations[:-1]


def test_best_takes_twice_the_iterations(options_of):
    usual, best = options_of(), options_of(quality="best")
    assert best.finest == usual.finest
    assert best.iterations == tuple(2 * n for n in usual.iterations)


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_a_number_of_iterations_counts_at_any_quality(options_of, quality):
    assert abs(sum(options_of(quality=quality, refine=40).iterations) - 40) <= 2
