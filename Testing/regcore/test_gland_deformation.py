import numpy as np
import pytest
import torch

from regcore.gland_alignment import align_glands
from regcore.gland_deformation import deform_glands
from regcore.grid import Grid
from regcore.image import Image
from regcore.inverse import invert
from regcore.metrics.overlap import dsc
from regcore.transform import AffineTransform, DenseTransform, RigidTransform
from regcore.warp import warp

from .organs import CENTRE, ball, grid_about, organ, rigid, surface

GRID = grid_about(CENTRE, (44, 44, 44), (1.0, 1.0, 1.0))
SWOLLEN = (11.0, 12.0, 7.0)
MOVED = rigid((4, -3, 5), (4, -3, 2))


def _dice(fixed, moving, transform):
    return dsc(fixed.data, warp(moving, transform, fixed.grid, "label").data)[1]


def _field(transform):
    dense = transform.parts[0]
    assert isinstance(dense, DenseTransform)
    return dense.field


@pytest.mark.parametrize(("fixed", "moving"), [("plain", "flipped"), ("rotated", "permuted"), ("mirrored", "rotated")])
def test_overlap_rises_without_folds_on_any_grids(awkward_grids, fixed, moving):
    a, b = organ(awkward_grids[fixed]), organ(awkward_grids[moving], MOVED, SWOLLEN)
    aligned = align_glands(a, b).transform
    bent = deform_glands(a, b, aligned)
    assert _dice(a, b, bent) > _dice(a, b, aligned) + 0.05
    assert float(_field(bent).jacobian_determinant().min()) > 0.5


def test_the_displacement_has_the_right_sign_and_size():
    here = RigidTransform.from_euler((0, 0, 0), (0, 0, 0))
    bent = deform_glands(ball(GRID, CENTRE, 10.0), ball(GRID, CENTRE, 13.0), here)
    poles = 10 * np.concatenate([np.eye(3), -np.eye(3)])
    moved = bent(CENTRE + poles) - CENTRE - poles
    outwards = (moved * poles).sum(1) / 10
    assert outwards.min() > 2.3
    assert outwards.max() < 3.2
    np.testing.assert_allclose(bent(CENTRE), CENTRE, atol=0.3)


def test_another_round_would_change_little(monkeypatch):
    fixed, moving, places = organ(GRID), organ(GRID, MOVED, SWOLLEN), surface()
    three = deform_glands(fixed, moving, MOVED)(places)
    monkeypatch.setattr("regcore.gland_deformation._ROUNDS", 4)
    four = deform_glands(fixed, moving, MOVED)(places)
    assert np.linalg.norm(three - MOVED(places), axis=1).max() > 1.5
    np.testing.assert_allclose(four, three, atol=0.3)


def test_far_from_the_organ_only_the_rigid_part_is_left():
    fixed, moving = organ(GRID), organ(GRID, MOVED, SWOLLEN)
    bent = deform_glands(fixed, moving, MOVED)
    rng = np.random.default_rng(2)
    directions = rng.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for distance in (56, 70, 300):
        far = CENTRE + directions * distance
        np.testing.assert_allclose(bent(far), MOVED(far), atol=1e-4)
    edges = [_field(bent).data.select(axis, end).abs().max() for axis in (1, 2, 3) for end in (0, -1)]
    assert max(edges) == 0


def test_organs_that_agree_are_left_alone():
    same = deform_glands(organ(GRID), organ(GRID, MOVED), MOVED)
    assert float(_field(same).data.norm(dim=0).max()) < 0.3


def test_it_can_be_undone():
    fixed, moving = organ(GRID), organ(GRID, MOVED, SWOLLEN)
    back = invert(deform_glands(fixed, moving, MOVED), fixed.grid)
    assert back.error_max_mm < 0.2


def test_outlines_that_differ_wildly_do_not_fold():
    bent = deform_glands(ball(GRID, CENTRE, 19.0), ball(GRID, CENTRE, 3.0), AffineTransform.identity(3))
    assert float(_field(bent).jacobian_determinant().min()) > 0.2


def test_what_a_cut_off_image_does_not_show_pulls_at_nothing():
    half = Grid.of((44, 44, 24), (1, 1, 1), (CENTRE - [21.5, 21.5, 0.5]).tolist())  # its lower half is missing
    bent = deform_glands(organ(GRID), organ(half), AffineTransform.identity(3))
    assert float(_field(bent).data.norm(dim=0).max()) < 0.6


@pytest.mark.parametrize(
    ("moving", "transform", "sentence"),
    [
        (torch.zeros(6, 6, 6), AffineTransform.identity(3), "moving_gland: the mask is empty"),
        (torch.ones(6, 6), AffineTransform.identity(3), "moving_gland: expected a 3D mask, got 2D"),
        (None, AffineTransform.identity(2), "rigid: expected a 3D transform, got a 2D one"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(moving, transform, sentence):
    mask = organ(GRID) if moving is None else Image(moving, Grid.of(moving.shape[::-1]))
    with pytest.raises(ValueError, match=sentence):
        deform_glands(organ(GRID), mask, transform)


def test_a_transform_that_takes_the_organs_out_of_sight_is_refused():
    half = Grid.of((44, 44, 24), (1, 1, 1), (CENTRE - [21.5, 21.5, 0.5]).tolist())
    away = AffineTransform.of(np.diag([1, 1, -1.0]), (0, 0, -60), CENTRE)
    with pytest.raises(ValueError, match="rigid: it takes the organs out of each other's images"):
        deform_glands(organ(half), organ(half), away)
