from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.image import Image
from regcore.rigid_view import Lattice, View, lattice_over
from regcore.transform import RigidTransform
from regcore.warp import warp

CENTRE = np.array([-30.0, 12.0, 105.0])
STILL = torch.eye(4, dtype=torch.float64)


def ball(grid, radius: float, centre=CENTRE) -> Image:
    far = np.linalg.norm(grid.points().numpy() - centre, axis=-1)
    return Image(torch.as_tensor(far < radius).to(torch.uint8), grid, "uint8")


@pytest.mark.parametrize("name", ["plain", "flipped", "permuted", "rotated", "mirrored"])
def test_the_lattice_covers_the_region_and_its_margin_on_any_grid(awkward_grids, name) -> None:
    grid = awkward_grids[name]
    lattice = lattice_over(ball(grid, 9.0), grid, 1.5, margin_mm=3.0)
    np.testing.assert_allclose(lattice.centre, CENTRE, atol=1.5)
    assert np.linalg.det(lattice.grid.axes) == pytest.approx(1.0)
    far = np.linalg.norm(lattice.grid.points().numpy() - CENTRE, axis=-1)
    inside = lattice.inside.numpy()
    within = np.abs(grid.to_index(lattice.grid.points().numpy()) - (np.asarray(grid.size) - 1) / 2)
    seen = (within <= np.asarray(grid.size) / 2).all(axis=-1)
    assert inside[(far < 9.0) & seen].all()
    assert not inside[(far > 9.0 + np.sqrt(3) * 3.0 + 4.0) | ~seen].any()
    assert lattice_over(ball(grid, 9.0), grid, 1.5).inside.sum() < inside.sum()


def test_a_large_region_gets_longer_voxels(awkward_grids) -> None:
    grid = awkward_grids["plain"]
    fine = lattice_over(ball(grid, 15.0), grid, 0.2)
    assert fine.voxel_mm > 0.2
    assert 100_000 < fine.inside.numel() < 400_000


def test_turned_and_apart_are_in_mm_and_degrees_along_the_volumes_axes(awkward_grids) -> None:
    lattice = lattice_over(ball(awkward_grids["mirrored"], 9.0), awkward_grids["mirrored"], 2.0, centre=CENTRE)
    shift = torch.tensor([0.0, 4.0, 3.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert lattice.apart(lattice.turned(shift)) == pytest.approx(5.0)
    np.testing.assert_allclose(lattice.turned(shift)[:3, 3], lattice.grid.axes @ (0.0, 4.0, 3.0), atol=1e-12)
    turn = lattice.turned(torch.tensor([0.0, 0, 0, 0, 0, 30], dtype=torch.float64)).numpy()
    np.testing.assert_allclose(turn[:3, :3] @ CENTRE + turn[:3, 3], CENTRE, atol=1e-9)
    arm, raised = lattice.grid.axes @ (1, 0, 0), lattice.grid.axes @ (np.cos(np.pi / 6), np.sin(np.pi / 6), 0)
    np.testing.assert_allclose(turn[:3, :3] @ arm, raised, atol=1e-12)


@pytest.mark.parametrize("names", [("rotated", "permuted"), ("flipped", "mirrored")], ids="-".join)
def test_the_moving_volume_is_seen_as_warping_shows_it(awkward_grids, blob, names) -> None:
    fixed_grid, moving_grid = (awkward_grids[name] for name in names)
    truth = RigidTransform.from_euler((5, -8, 12), (2.0, -3.0, 1.5), CENTRE)
    fixed, moving = blob(fixed_grid), blob(moving_grid, (4.0, 1.0, -3.0), 5.0)
    view = View(fixed, moving, lattice_over(ball(fixed_grid, 10.0), fixed_grid, 1.0))
    got, seen = view.moved(torch.as_tensor(truth.homogeneous))
    source = moving.with_data(view.source[0, 0])
    np.testing.assert_allclose(got[0, 0][seen], warp(source, truth, view.lattice.grid).data[seen], atol=1e-4)
    peak = view.lattice.grid.points()[seen][int(got[0, 0][seen].argmax())].numpy()
    np.testing.assert_allclose(truth(peak) - moving_grid.centre, (4.0, 1.0, -3.0), atol=1.5)


def test_what_leaves_the_moving_volume_is_not_seen(awkward_grids, blob) -> None:
    grid = awkward_grids["plain"]
    view = View(blob(grid), blob(grid), lattice_over(ball(grid, 10.0), grid, 2.0))
    away = STILL.clone()
    away[0, 3] = grid.extent[0] / 2
    half = view.moved(away)[1]
    assert int(view.moved(STILL)[1].sum()) == int(view.lattice.inside.sum())
    assert 0.35 < int(half.sum()) / int(view.lattice.inside.sum()) < 0.65
    points = view.lattice.grid.points()
    assert float(points[half][:, 0].max()) <= CENTRE[0] + 1.0
    away[0, 3] = 100.0
    assert not view.moved(away)[1].any()


def test_a_single_point_still_has_a_radius(awkward_grids) -> None:
    grid = awkward_grids["plain"]
    inside = torch.zeros(grid.shape, dtype=torch.bool)
    inside[20, 20, 20] = True
    assert Lattice(grid, inside, grid.points()[20, 20, 20].numpy()).radius_mm == 1.0
