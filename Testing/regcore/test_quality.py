"""What a quality makes of refinement."""

import pytest
import torch

import regcore.steps
from regcore.grid import Grid
from regcore.models import Provenance, create_model, save_model
from regcore.pipeline import register
from regcore.preprocess import Inputs
from regcore.refine import RefineOptions
from regcore.settings import Settings
from regcore.steps import _without_seen

from .shift_networks import add_shift


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The user's folder of models, not there yet."""
    monkeypatch.setenv("REGCORE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


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


@pytest.mark.parametrize(
    ("seen_mm", "kept"), [(None, (20, 30, 30, 6)), (2.5, (0, 0, 30, 6)), (4.0, (0, 30, 30, 6)), (0.5, (0, 0, 0, 6))]
)
def test_levels_coarser_than_what_a_network_saw_are_left_out(seen_mm, kept):
    grid = Grid.of((16, 16, 16), (1.0, 1.0, 1.0))
    options = RefineOptions(iterations=(20, 30, 30, 6))
    assert _without_seen(options, grid, seen_mm).iterations == kept


def test_only_trained_networks_have_seen_something(options_of, monkeypatch, own):
    add_shift(monkeypatch, "shift", {3: (0.0, 0.0, 0.0)})
    assert options_of(model="shift").iterations == RefineOptions().iterations
    own.mkdir(parents=True)
    save_model(create_model("shift"), own / "shift.safetensors", provenance=Provenance(spacing_mm=1.5))
    assert options_of(model="shift").iterations[:2] == (0, 0)
