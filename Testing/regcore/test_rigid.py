"""Staged rigid registration with networks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.crop import gland_crop
from regcore.grid import Grid
from regcore.image import Image
from regcore.metrics.registration_error import sre, surface_points
from regcore.progress import Cancelled
from regcore.rigid import register_rigid, rotation_frame
from regcore.transform import AffineTransform, RigidTransform

from .rigid_networks import Constant, Moments

IDENTITY = AffineTransform.identity(3)
RADII = np.array([11.0, 6.0, 7.0])
TRUE = RigidTransform.from_euler((0, 0, 14), (4.0, -3.0, 2.5), (1.0, 2.0, -1.0))


def organ_at(points: np.ndarray) -> np.ndarray:
    """A lens-shaped organ, longest along x, brightest in the middle."""
    return np.exp(-((points / RADII) ** 2).sum(-1) * 1.5)


def seen_on(grid: Grid, way: RigidTransform | None = None) -> Image:
    points = grid.points().numpy()
    return Image(torch.from_numpy(organ_at(points if way is None else way(points)).astype(np.float32)), grid)


def gland_on(grid: Grid) -> Image:
    # A box of equal sides, so that angles in the crop are angles in space.
    inside = (np.abs(grid.points().numpy() @ grid.axes) <= 11).all(-1)
    return Image(torch.from_numpy(inside.astype(np.uint8)), grid, "uint8")


def centred(size, spacing, axes=None) -> Grid:
    grid = Grid.of(size, spacing, None, axes)
    return Grid.of(size, spacing, (-grid.centre).tolist(), grid.axes)


FIXED = {
    "plain": centred((44, 44, 44), (1.0, 1.0, 1.0)),
    "flipped": centred((34, 38, 30), (1.3, 1.2, 1.5), np.diag([-1.0, -1.0, 1.0])),
    "permuted": centred((30, 36, 40), (1.5, 1.25, 1.1), np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]])),
}
MOVING = {
    "plain": centred((48, 46, 50), (1.0, 1.0, 1.0)),
    "mirrored": centred((40, 30, 44), (1.3, 1.6, 1.2), np.diag([1.0, -1.0, -1.0]) @ np.diag([1, 1, -1])),
}


@pytest.mark.parametrize("moving_name", MOVING)
@pytest.mark.parametrize("fixed_name", FIXED)
@pytest.mark.parametrize("ensemble", [1, 4])
def test_a_known_motion_is_found_in_millimetres(fixed_name, moving_name, ensemble):
    fixed = seen_on(FIXED[fixed_name])
    # The moving volume shows at TRUE(x) what the fixed one shows at x.
    moving = seen_on(MOVING[moving_name], _back(TRUE))
    gland = gland_on(fixed.grid)
    found = register_rigid([Moments()], fixed, moving, gland, IDENTITY, stages=6, ensemble=ensemble)
    surface = surface_points(gland)
    before, after = sre(surface, IDENTITY, TRUE), sre(surface, found.transform, TRUE)
    assert before > 5
    assert after < 0.35
    shift = found.transform(np.array([1.0, 2.0, -1.0])) - np.array([1.0, 2.0, -1.0])
    assert np.abs(shift - [4.0, -3.0, 2.5]).max() < 0.4
    assert found.transform.angles_deg[2] == pytest.approx(14, abs=1)
    assert len(found.stages) == len(found.seconds) == 6
    assert (found.spread_mm is None) == (ensemble == 1)
    if ensemble > 1:
        assert found.spread_mm < 1.0


def _back(transform: RigidTransform) -> RigidTransform:
    way = transform.inverse()
    return RigidTransform(way.matrix, way.translation, way.centre)


def test_tilting_both_headers_tilts_the_result():
    turn = RigidTransform.from_euler((20, -35, 10), (30.0, -5.0, 12.0))
    fixed, moving = seen_on(FIXED["plain"]), seen_on(MOVING["plain"], _back(TRUE))
    gland = gland_on(fixed.grid)

    def tilted(image: Image) -> Image:
        grid = image.grid
        return Image(image.data, Grid.of(grid.size, grid.spacing, turn(grid.origin).tolist(), turn.matrix @ grid.axes))

    plain = register_rigid([Moments()], fixed, moving, gland, IDENTITY, stages=4)
    oblique = register_rigid([Moments()], *map(tilted, (fixed, moving, gland)), IDENTITY, stages=4)
    points = surface_points(gland)
    assert np.abs(turn(plain.transform(points)) - oblique.transform(turn(points))).max() < 1e-3


@pytest.mark.parametrize("center", ["crop", "mr_origin"])
def test_numbers_of_a_network_turn_about_its_centre(center):
    numbers = [1.5, -2.0, 3.0, 4.0, -5.0, 12.0]
    fixed, moving = seen_on(FIXED["permuted"]), seen_on(MOVING["plain"])
    gland = gland_on(fixed.grid)
    start = RigidTransform.from_euler((3, 0, -4), (1.0, 2.0, 0.5))
    found = register_rigid([Constant(numbers, center)], fixed, moving, gland, start)
    crop = gland_crop(gland, (4, 4, 4))
    corner = np.abs(fixed.grid.corners() @ np.eye(3)).max(axis=0)
    spacing = np.array([1.5, 1.1, 1.25])  # along x, y, z of the permuted grid
    origin = crop.centre if center == "crop" else -corner + spacing / 2
    # What the network moves is content: T_new = M T, with T from moving to fixed points.
    moved = RigidTransform.from_euler(numbers[3:], numbers[:3], origin)
    expected = start.homogeneous @ np.linalg.inv(moved.homogeneous)
    assert np.abs(found.transform.homogeneous - expected).max() < 1e-5
    assert np.abs(rotation_frame(crop, fixed.grid, center).numpy()[:3, 3] + origin).max() < 1e-9


def test_two_stages_with_oracle_predictions_end_at_zero():
    fixed, moving = seen_on(FIXED["plain"]), seen_on(MOVING["plain"], _back(TRUE))
    gland = gland_on(fixed.grid)
    centre = gland_crop(gland, (4, 4, 4)).centre
    half = RigidTransform.from_euler((3, -2, 5), (2.0, 1.0, -1.0), centre)

    def oracle(true: np.ndarray, start: np.ndarray) -> list[float]:
        """Six numbers that bring ``start`` (fixed to moving) to ``true`` in one stage."""
        missing = np.linalg.inv(true) @ start
        about = AffineTransform.from_homogeneous(missing, centre)
        rigid = RigidTransform(about.matrix, about.translation, centre)
        return [*rigid.translation, *rigid.angles_deg]

    first = TRUE.homogeneous @ half.homogeneous
    networks = [Constant(oracle(first, np.eye(4))), Constant(oracle(TRUE.homogeneous, first))]
    found = register_rigid(networks, fixed, moving, gland, IDENTITY)
    assert sre(surface_points(gland), found.stages[0], TRUE) > 2
    assert sre(surface_points(gland), found.transform, TRUE) < 1e-5


def test_translations_in_units_of_the_crop_become_millimetres():
    fixed, moving = seen_on(FIXED["plain"]), seen_on(MOVING["plain"])
    gland = gland_on(fixed.grid)
    found = register_rigid([Constant([1.0, 2.0, -1.0, 0, 0, 0], units="crop")], fixed, moving, gland, IDENTITY)
    sides = np.asarray(gland_crop(gland, (4, 4, 4)).extent)
    assert np.abs(found.transform.translation + np.array([1.0, 2.0, -1.0]) * sides / 64).max() < 1e-5


def test_ensemble_repeats_and_its_spread_is_the_disagreement():
    fixed, moving = seen_on(FIXED["plain"]), seen_on(MOVING["plain"], _back(TRUE))
    gland = gland_on(fixed.grid)
    runs = [register_rigid([Moments()], fixed, moving, gland, IDENTITY, ensemble=5, seed=3) for _ in range(2)]
    assert np.array_equal(runs[0].transform.homogeneous, runs[1].transform.homogeneous)
    # A network that corrects nothing leaves the members where the perturbations put them: millimetres apart.
    blind = register_rigid([Constant([0.0] * 6)], fixed, moving, gland, IDENTITY, ensemble=16)
    assert 1.0 < blind.spread_mm < 4.0
    better = register_rigid([Moments()], fixed, moving, gland, IDENTITY, stages=5, ensemble=16)
    assert better.spread_mm < 0.5 * blind.spread_mm


def test_a_last_stage_that_corrects_much_is_not_sure():
    fixed, moving = seen_on(FIXED["plain"]), seen_on(MOVING["plain"], _back(TRUE))
    gland = gland_on(fixed.grid)
    still, far = Constant([0.0] * 6), Constant([0, 12.0, 0, 0, 0, 0])  # a mirror leaves y
    calm = register_rigid([far, still], fixed, moving, gland, IDENTITY, ensemble=8)
    restless = register_rigid([still, far], fixed, moving, gland, IDENTITY, ensemble=8)
    # Half of those counted lie 12 mm away, the others about 2 mm.
    assert calm.spread_mm < 4
    assert restless.spread_mm == pytest.approx(np.sqrt((144 + calm.spread_mm**2) / 2), abs=1.0)


def test_a_mask_on_another_grid_serves_as_well():
    fixed, moving = seen_on(FIXED["plain"]), seen_on(MOVING["plain"], _back(TRUE))
    here, there = gland_on(fixed.grid), gland_on(FIXED["flipped"])
    results = [register_rigid([Moments()], fixed, moving, gland, IDENTITY, stages=4) for gland in (here, there)]
    assert sre(surface_points(here), results[0].transform, results[1].transform) < 0.7


def test_a_start_written_with_few_digits_is_rigid_still():
    fixed, moving = seen_on(FIXED["plain"]), seen_on(MOVING["plain"], _back(TRUE))
    gland = gland_on(fixed.grid)
    exact = RigidTransform.from_euler((3, -4, 8), (1.0, 2.0, 0.5))
    rounded = AffineTransform.of(exact.matrix.round(4), exact.translation)
    found = [register_rigid([Moments()], fixed, moving, gland, start) for start in (exact, rounded)]
    assert sre(surface_points(gland), found[0].transform, found[1].transform) < 0.01
    mirrored = AffineTransform.of(np.diag([-1.0, 1, 1]))
    with pytest.raises(ValueError, match="stretches or mirrors"):
        register_rigid([Moments()], fixed, moving, gland, mirrored)


def test_what_cannot_be_done_is_said():
    fixed, moving = seen_on(FIXED["plain"]), seen_on(MOVING["plain"])
    gland = gland_on(fixed.grid)
    stretched = AffineTransform.of(np.diag([1.1, 1, 1]))
    with pytest.raises(ValueError, match="goes on from a rigid transform"):
        register_rigid([Moments()], fixed, moving, gland, stretched)
    with pytest.raises(ValueError, match="expected stages of one model"):
        register_rigid([Moments(), Constant([0.0] * 6)], fixed, moving, gland, IDENTITY)
    with pytest.raises(ValueError, match="1 or more stages and members"):
        register_rigid([Moments()], fixed, moving, gland, IDENTITY, ensemble=0)
    with pytest.raises(Cancelled):
        register_rigid([Moments()], fixed, moving, gland, IDENTITY, cancelled=lambda: True)
