import numpy as np
import pytest
import torch

from regcore.gland_fit import GlandFit
from regcore.gland_surface import GlandSurface

from .organs import CENTRE, ball, grid_about, organ, rigid

SD = float(np.deg2rad(8.0))
GRID = grid_about(CENTRE, (40, 40, 40), (1.0, 1.0, 1.0))
MOVED = rigid((8, -6, 10), (4, -3, 2))


def _fit(fixed, moving, landmarks=None):
    points = torch.zeros(0, 3, dtype=torch.float64) if landmarks is None else torch.as_tensor(landmarks)
    there = points if landmarks is None else torch.as_tensor(MOVED(landmarks))
    return GlandFit(GlandSurface.of(fixed), GlandSurface.of(moving), points, there, SD)


@pytest.mark.parametrize("numbers", [(0.3, 0.2, 0.4, 0, 0, 0), (3, -4, 1, 0.2, -0.1, 0.3), (9, 2, -5, -0.4, 0.3, 0.1)])
def test_the_slope_is_half_the_derivative_of_the_cost(numbers):
    fit = _fit(organ(GRID), organ(GRID, MOVED), CENTRE + np.array([[5.0, 1, 0], [-3, 2, 4]]))
    here = torch.tensor(numbers, dtype=torch.float64)
    steps = 1e-5 * torch.eye(6, dtype=torch.float64)
    numeric = [(fit.at(here + step).cost - fit.at(here - step).cost) / 4e-5 for step in steps]
    slope = fit.at(here).slope
    np.testing.assert_allclose(slope, numeric, atol=0.01 * float(slope.abs().max()) + 0.02)


def test_the_minimum_is_lower_than_all_around_it():
    fit = _fit(organ(GRID), organ(GRID, MOVED))
    best = fit.minimise(torch.zeros(6, dtype=torch.float64))
    for step in torch.cat([torch.eye(6), -torch.eye(6)]).double() * torch.tensor([0.5] * 3 + [0.05] * 3):
        assert fit.at(best.numbers + step).cost > best.cost


def test_of_a_ball_the_prior_alone_limits_the_rotation():
    radius = 10.0
    fit = _fit(ball(GRID, CENTRE, radius), ball(GRID, CENTRE, radius))
    shift = 9 * 2.0**2 / 60  # 60 points of 2 mm each see a third of a shift
    turn = 2 * radius**2 * SD**2
    found = fit.error_mm(fit.minimise(torch.zeros(6, dtype=torch.float64)))
    assert found == pytest.approx((shift + turn) ** 0.5, rel=0.07)


def test_outlines_that_fit_badly_promise_less():
    good = _fit(ball(GRID, CENTRE, 10.0), ball(GRID, CENTRE, 10.0))
    bad = _fit(ball(GRID, CENTRE, 15.0), ball(GRID, CENTRE, 6.0))
    errors = []
    for fit in (good, bad):
        state = fit.minimise(torch.zeros(6, dtype=torch.float64))
        errors.append((fit.error_mm(state), state.misfit, state.distance_mm))
    assert errors[0][1] < 0.2
    assert errors[1][1] > 2
    assert 7 < errors[1][2] < 9.5
    assert errors[1][0] > 1.5 * errors[0][0]


def test_an_organ_cut_off_in_both_images_is_not_moved_out_of_sight():
    grid = grid_about(CENTRE + np.array([0, 0, 6]), (40, 40, 20), (1.0, 1.0, 1.0))  # from 4 mm below the centre
    fit = _fit(ball(grid, CENTRE, 10.0), ball(grid, CENTRE, 10.0))
    beyond = torch.tensor([0.0, 0, -80, 0, 0, 0], dtype=torch.float64)
    assert fit.at(beyond).cost > 100 * fit.at(torch.zeros(6, dtype=torch.float64)).cost
