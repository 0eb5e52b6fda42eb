"""The network step: which gland, how sure, what to fall back on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import regcore.rigid_step as module
from regcore.field import DisplacementField
from regcore.image import Image
from regcore.models import create_model
from regcore.models.base import RigidModel
from regcore.preprocess import Inputs
from regcore.rigid_step import is_rigid, linear_start, rigid_step
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, RigidTransform
from regcore.weights import Trained

from .pairs import centred_grid
from .rigid_networks import Constant, Moments

IDENTITY = AffineTransform.identity(3)
GRID = centred_grid((48, 48, 48), (1.0, 1.0, 1.0))
SHIFT = np.array([5.0, -3.0, 2.0])


def organ(centre) -> Image:
    squared = (((GRID.points().numpy() - np.asarray(centre)) / [10.0, 7.0, 8.0]) ** 2).sum(-1)
    return Image(torch.from_numpy(np.exp(-1.5 * squared).astype(np.float32)), GRID)


def gland(centre, half=11.0) -> Image:
    inside = (np.abs(GRID.points().numpy() - np.asarray(centre)) <= half).all(-1)
    return Image(torch.from_numpy(inside.astype(np.uint8)), GRID, "uint8")


@pytest.fixture
def use(monkeypatch):
    """Make a network stand for every trained model."""

    def stand_in(network: RigidModel) -> None:
        monkeypatch.setattr(module, "load_trained", lambda name, folder: Trained(name, (network,), {"f": "0"}))

    return stand_in


def test_pair_is_registered_and_described(use):
    use(Moments())
    inputs = Inputs(organ((0, 0, 0)), organ(SHIFT), fixed_gland=gland((0, 0, 0)))
    step = rigid_step(inputs, "attention-reg", IDENTITY, passes=4)
    assert np.abs(step.transform((0.0, 0.0, 0.0)) - SHIFT).max() < 0.5
    assert step.spread_mm < 1
    assert step.warnings == ()
    assert step.weights == {"f": "0"}
    assert len(step.seconds) == 4


def test_disagreement_falls_back_on_the_outlines(use, monkeypatch):
    monkeypatch.setattr(module, "UNSURE_MM", 0.5)
    use(Constant([0.0] * 6))  # members stay where their starts were put: apart
    inputs = Inputs(organ((0, 0, 0)), organ(SHIFT), fixed_gland=gland((0, 0, 0)), moving_gland=gland(SHIFT))
    step = rigid_step(inputs, "attention-reg", IDENTITY)
    assert np.abs(step.transform((0.0, 0.0, 0.0)) - SHIFT).max() < 0.5
    assert "outlines were aligned instead" in step.warnings[-1]
    alone = rigid_step(Inputs(inputs.fixed, inputs.moving, fixed_gland=inputs.fixed_gland), "attention-reg", IDENTITY)
    assert np.abs(alone.transform((0.0, 0.0, 0.0))).max() < 2
    assert "not sure" in alone.warnings[-1]


def test_without_a_gland_the_organ_is_searched_for(use):
    use(Moments())
    inputs = Inputs(organ((9, -8, 7)), organ(np.array([9, -8, 7]) + SHIFT))
    told: list[float] = []
    step = rigid_step(inputs, "attention-reg", IDENTITY, passes=4, report=lambda f, message: told.append(f))
    assert np.abs(step.transform((9.0, -8.0, 7.0)) - [14, -11, 9]).max() < 2
    assert "searched for" in step.warnings[0]
    alone = rigid_step(inputs, "attention-reg", IDENTITY, passes=4, ensemble=1)
    assert alone.spread_mm is not None  # the doubt about where to look
    assert told == sorted(told)
    assert len(told) > 20


def test_doubtful_glands_are_said(use):
    use(Moments())
    pair = organ((0, 0, 0)), organ(SHIFT)
    cut = rigid_step(Inputs(*pair, fixed_gland=gland((15, 0, 0))), "attention-reg", IDENTITY)
    assert "touches the border" in cut.warnings[0]
    small = rigid_step(Inputs(*pair, fixed_gland=gland((0, 0, 0), 4.0)), "attention-reg", IDENTITY)
    assert "8 x 8 x 8 mm, unlikely for a prostate" in small.warnings[0]


def test_single_frames_and_missing_glands_are_refused(use):
    use(Moments(fixed_input="label"))
    inputs = Inputs(organ((0, 0, 0)), organ(SHIFT))
    with pytest.raises(ValueError, match="fixed-labels: attention-reg-label looks at the gland"):
        rigid_step(inputs, "attention-reg-label", IDENTITY)
    frame = centred_grid((48, 48, 1), (1.0, 1.0, 1.0))
    thin = Image(torch.rand(frame.shape), frame)
    with pytest.raises(ValueError, match="moving: expected a volume, got 48 x 48 x 1 voxels"):
        rigid_step(Inputs(inputs.fixed, thin), "attention-reg", IDENTITY)


def test_a_start_that_misses_the_moving_volume_is_refused(use):
    use(Moments())
    inputs = Inputs(organ((0, 0, 0)), organ(SHIFT), fixed_gland=gland((0, 0, 0)))
    astray = AffineTransform.of(np.eye(3), (0.0, 80.0, 0.0))
    with pytest.raises(ValueError, match="init: the start sends the gland outside the moving volume"):
        rigid_step(inputs, "attention-reg", astray)


def test_starts_become_one_matrix():
    first = RigidTransform.from_euler((5, 0, 0), (1.0, 2.0, 3.0))
    then = RigidTransform.from_euler((0, 10, 0), (-1.0, 0.0, 2.0), (3.0, 1.0, 2.0))
    both = CompositeTransform((first, then))
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert np.abs(linear_start(both)(points) - both(points)).max() < 1e-9
    field = DisplacementField.identity(GRID)
    with pytest.raises(ValueError, match="not from a DenseTransform"):
        linear_start(DenseTransform(field))


def test_kinds_of_models():
    assert is_rigid("attention-reg-small")
    assert not is_rigid("pan")
    assert not is_rigid("none")
    assert isinstance(create_model("attention-reg-small"), RigidModel)
