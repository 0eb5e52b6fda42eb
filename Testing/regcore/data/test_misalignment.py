"""Perturbations come out as large as asked for (specification of Attention-Reg, section 11)."""

import math

import pytest
import torch

from regcore.data.misalignment import ROTATION_DEG, TRANSLATION_MM, misalign
from regcore.ops.rigid import mean_displacement, rigid_matrix, rigid_parameters

COUNT = 100
# Of the surface relative to what is turned about: the crop's centre, or a corner 105 mm away as in the paper's code.
CENTRES = {"crop": (0.0, 0.0, 0.0), "mr_origin": (71.5, 69.9, 30.8)}


@pytest.fixture(params=CENTRES.values(), ids=CENTRES)
def points(request):
    """A gland of 45 x 31 x 46 mm, in a batch."""
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    gland = directions.double() * torch.tensor([22.5, 15.5, 23.0]) + torch.tensor(request.param).double()
    return gland.expand(COUNT, -1, -1)


def draw(points, wanted, seed=0):
    return misalign(points[: len(wanted)], wanted, torch.Generator().manual_seed(seed))


def test_the_far_centre_is_105_mm_away():
    assert math.dist((0, 0, 0), CENTRES["mr_origin"]) == pytest.approx(105, abs=1)


@pytest.mark.parametrize("most", [20.0, 8.0, 0.5])
def test_the_wanted_error_is_reached_and_recorded(points, most):
    wanted = torch.linspace(0, most, COUNT, dtype=torch.float64)
    found = draw(points, wanted)
    achieved = mean_displacement(found.matrix, points)
    assert found.matrix.dtype == torch.float64
    assert (achieved - wanted).abs().max() <= 0.05
    assert torch.equal(found.sre, achieved)


def test_nothing_is_stretched_more_than_five_times(points):
    found = rigid_parameters(draw(points, torch.full((COUNT,), 20.0)).matrix).abs()
    assert found[:, :3].max() <= 5 * TRANSLATION_MM
    assert found[:, 3:].max() <= 5 * ROTATION_DEG
    assert (TRANSLATION_MM, ROTATION_DEG) == (5, 6)


def test_the_six_numbers_are_stretched_together(points):
    small, large = (rigid_parameters(draw(points, torch.full((1,), size)).matrix) for size in (0.5, 5.0))
    ratio = large / small
    torch.testing.assert_close(ratio, ratio[:, :1].expand(1, 6))
    assert ratio[0, 0] > 2


@pytest.mark.parametrize(("share", "none"), [({"translation_mm": 0}, slice(3)), ({"rotation_deg": 0}, slice(3, 6))])
def test_an_error_may_be_of_shifts_or_of_rotations_alone(points, share, none):
    wanted = torch.full((8,), 6.0, dtype=torch.float64)
    found = misalign(points[:8], wanted, torch.Generator().manual_seed(3), **share)
    assert rigid_parameters(found.matrix)[:, none].abs().max() < 1e-9
    torch.testing.assert_close(mean_displacement(found.matrix, points[:8]), wanted, atol=0.05, rtol=0)


def test_all_six_numbers_take_both_signs(points):
    found = rigid_parameters(draw(points, torch.full((COUNT,), 8.0)).matrix)
    positive = (found > 0).float().mean(dim=0)
    assert ((positive > 0.3) & (positive < 0.7)).all()


def test_none_wanted_is_the_identity(points):
    found = draw(points, torch.zeros(3))
    assert torch.equal(found.matrix, torch.eye(4).double().expand(3, 4, 4))
    assert not found.sre.any()


def test_the_generator_decides(points):
    wanted = torch.full((4,), 6.0)
    assert torch.equal(draw(points, wanted).matrix, draw(points, wanted).matrix)
    assert not torch.equal(draw(points, wanted).matrix, draw(points, wanted, seed=1).matrix)


def test_one_draw_too_small_is_drawn_again(points, monkeypatch):
    """The first perturbation would have to be stretched 100 times."""
    small = torch.tensor([[0.05, 0, 0, 0, 0, 0.01]], dtype=torch.float64)
    usual = torch.tensor([[4.0, -3.0, 2.0, 1.0, 2.0, -3.0]], dtype=torch.float64)
    draws = iter([small, usual])
    monkeypatch.setattr("regcore.data.misalignment._draw", lambda *_: next(draws))
    found = misalign(points[:1], torch.tensor([7.0]))
    direction = rigid_parameters(found.matrix) / usual
    torch.testing.assert_close(direction, direction[:, :1].expand(1, 6))
    assert mean_displacement(rigid_matrix(small * 5), points[:1]) < 7


def test_what_cannot_be_is_refused(points):
    with pytest.raises(ValueError, match=r"wanted: no rigid perturbation of this surface has an error of 300.0 mm"):
        draw(points, torch.tensor([1.0, 300.0]))
    for wanted in (-1.0, math.nan):
        with pytest.raises(ValueError, match="wanted: expected errors of 0 mm or more"):
            draw(points, torch.tensor([1.0, wanted]))
