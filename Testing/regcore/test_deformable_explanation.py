"""Sensitivity of two images: where it lands in mm, on grids of any orientation, in volumes, planes and slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.deformable_explanation import explain_deformable
from regcore.field import DisplacementField
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.network_grid import NetworkGrid
from regcore.preprocess import Inputs, registration_grid
from regcore.slices import Stack
from regcore.transform import CompositeTransform, DenseTransform, RigidTransform

from .sensitive_networks import Brightness

CENTRES = {3: np.array([-30.0, 12.0, 105.0]), 2: np.array([21.0, -14.0])}  # where the awkward grids have theirs (mm)
SPOTS = {3: CENTRES[3] + np.array([5.0, -4.0, 3.0]), 2: CENTRES[2] + np.array([5.0, -4.0])}
MOVED = {
    3: RigidTransform.from_euler((8, -5, 12), (4.0, -3.0, 2.5), CENTRES[3]),
    2: RigidTransform.from_euler((14,), (4.0, -3.0), CENTRES[2]),
}
FIXED = ["plain", "flipped", "permuted", "rotated", "mirrored", "plane", "plane_rotated"]
MAPS = {"sensitivity_fixed", "sensitivity_moving", "sensitivity_moving_native"}


def spot(grid: Grid, where: Matrix, sigma: float = 3.0) -> Image:
    squared = (grid.points() - torch.as_tensor(where)).square().sum(-1)
    return Image(torch.exp(-squared / (2 * sigma**2)).float(), grid)


def centroid(image: Image) -> Matrix:
    """Centre (mm) of what is above half the maximum."""
    weight = (image.data - 0.5 * image.data.max()).clamp_min(0).double().flatten()
    points = image.grid.points().reshape(-1, image.dim)
    return ((weight[:, None] * points).sum(dim=0) / weight.sum()).numpy()


def seen_on(inputs: Inputs, slicewise: bool = False) -> NetworkGrid:
    grid = inputs.fixed.grid
    stack = Stack.of(grid).in_plane(1.2) if slicewise else None
    return NetworkGrid(stack.grid if stack else registration_grid(grid, 1.5), stack)


def pair(fixed_grid: Grid, moving_grid: Grid, apart: float = 3.0) -> tuple[Inputs, Matrix]:
    """A bright spot in both, the moving one ``apart`` mm from where `MOVED` expects it, and where that is."""
    dim = fixed_grid.dim
    there = MOVED[dim](SPOTS[dim]) + apart * np.eye(dim)[1]
    return Inputs(spot(fixed_grid, SPOTS[dim]), spot(moving_grid, there)).upright(), there


@pytest.fixture(params=FIXED)
def fixed_grid(request, awkward_grids) -> Grid:
    return awkward_grids[request.param]


def test_maps_light_up_where_the_spots_are(fixed_grid, awkward_grids):
    dim = fixed_grid.dim
    moving_grid = awkward_grids["mirrored" if dim == 3 else "plane_rotated"]
    inputs, there = pair(fixed_grid, moving_grid)
    found = explain_deformable(Brightness(dim).eval(), inputs, MOVED[dim], seen_on(inputs), draws=64)
    volumes = found.volumes(fixed_grid, moving_grid)
    assert set(volumes) == MAPS
    wanted = {
        "sensitivity_fixed": (fixed_grid, SPOTS[dim]),
        "sensitivity_moving": (fixed_grid, MOVED[dim].inverse()(there)),
        "sensitivity_moving_native": (moving_grid, there),
    }
    for name, (grid, where) in wanted.items():
        assert volumes[name].grid == grid
        # Half a voxel of the network's grid is 0.75 mm.
        assert np.linalg.norm(centroid(volumes[name]) - where) < 0.4, name
        assert float(volumes[name].data.min()) >= 0
        assert 0.7 < float(volumes[name].data.max()) < 1 + 1e-6
    for side, where in (("fixed", SPOTS[dim]), ("moving", MOVED[dim].inverse()(there))):
        assert np.linalg.norm(found.strongest(side) - where) < 4


def test_through_a_dense_start(awkward_grids, smooth_field):
    fixed_grid, moving_grid = awkward_grids["rotated"], awkward_grids["flipped"]
    field: DisplacementField = smooth_field(fixed_grid, 3.0, seed=2, taper=True)
    start = CompositeTransform((DenseTransform(field), MOVED[3]))
    inputs, there = pair(fixed_grid, moving_grid)
    found = explain_deformable(Brightness(3).eval(), inputs, start, seen_on(inputs))
    volumes = found.volumes(fixed_grid, moving_grid)
    shown = centroid(volumes["sensitivity_moving"])
    assert np.linalg.norm(start(shown) - there) < 1.2
    assert np.linalg.norm(centroid(volumes["sensitivity_moving_native"]) - there) < 1.0


@pytest.mark.parametrize("name", ["rotated", "mirrored"])
def test_slices_are_put_back_in_their_places(name, awkward_grids):
    grid, moving_grid = awkward_grids[name], awkward_grids["flipped"]
    inputs, there = pair(grid, moving_grid)
    found = explain_deformable(Brightness(2).eval(), inputs, MOVED[3], seen_on(inputs, slicewise=True))
    volumes = found.volumes(grid, moving_grid)
    assert np.linalg.norm(centroid(volumes["sensitivity_fixed"]) - SPOTS[3]) < 1
    assert np.linalg.norm(centroid(volumes["sensitivity_moving_native"]) - there) < 1


@pytest.mark.parametrize("slicewise", [False, True])
@pytest.mark.parametrize("name", ["rotated", "mirrored"])
def test_a_point_has_its_own_surroundings_alone(name, slicewise, awkward_grids):
    grid = awkward_grids[name]
    # Bright everywhere: what counts is where the point lies.
    wide = spot(grid, CENTRES[3], 30.0)
    inputs = Inputs(wide, wide).upright()
    still = RigidTransform(np.eye(3), np.zeros(3), CENTRES[3])
    network = Brightness(2 if slicewise else 3).eval()
    lattice = seen_on(inputs, slicewise)
    found = explain_deformable(network, inputs, still, lattice, point=SPOTS[3])
    nearest = lattice.grid.to_world(np.rint(lattice.grid.to_index(SPOTS[3])))
    for image in (found.fixed, found.moving):
        assert np.linalg.norm(centroid(image) - nearest) < 0.25
        away = (image.grid.points() - torch.as_tensor(SPOTS[3])).norm(dim=-1) > 14
        assert not bool(image.data[away].any())
    if slicewise:
        held = found.fixed.data.sum(dim=[axis for axis in range(3) if axis != lattice.stack.axis])
        assert int((held > 0).sum()) == 1


def test_a_batch_of_slices_is_cut_where_memory_ends(awkward_grids, monkeypatch):
    grid = awkward_grids["rotated"]
    inputs, _ = pair(grid, grid)
    lattice = seen_on(inputs, slicewise=True)
    told: list[float] = []
    network = Brightness(2).eval()
    whole = explain_deformable(network, inputs, MOVED[3], lattice, point=SPOTS[3])
    monkeypatch.setattr("regcore.deformable_explanation.MOST_VOXELS", 5 * 1500)
    parts = explain_deformable(
        network, inputs, MOVED[3], lattice, point=SPOTS[3], report=lambda fraction, message: told.append(fraction)
    )
    torch.testing.assert_close(parts.fixed.data, whole.fixed.data)
    torch.testing.assert_close(parts.length.data, whole.length.data)
    assert told == sorted(told)
    assert max(told) <= 1


@pytest.mark.parametrize(("shares", "empty", "full"), [((1, 0), "moving", "fixed"), ((0, 1), "fixed", "moving")])
def test_an_image_that_is_not_looked_at(shares, empty, full, awkward_grids):
    grid = awkward_grids["plain"]
    inputs, _ = pair(grid, grid)
    found = explain_deformable(Brightness(3, *shares).eval(), inputs, MOVED[3], seen_on(inputs))
    assert not bool(found.of(empty).data.any())
    assert found.strongest(empty) is None
    assert (found.share_of(empty), found.share_of(full)) == (0, 1)
    assert float(found.scaled(full).data.max()) == 1


def test_a_network_that_looks_at_nothing(awkward_grids):
    grid = awkward_grids["plain"]
    inputs, _ = pair(grid, grid)
    found = explain_deformable(Brightness(3, 0, 0).eval(), inputs, MOVED[3], seen_on(inputs))
    assert found.share_of("fixed") is None
    assert all(not bool(volume.data.any()) for volume in found.volumes(grid, grid).values())


def test_what_counts_more_has_the_larger_share(awkward_grids):
    grid = awkward_grids["plain"]
    still = RigidTransform(np.eye(3), np.zeros(3), CENTRES[3])
    bright = spot(grid, SPOTS[3])
    inputs = Inputs(bright, bright).upright()
    # Twice the slope everywhere is four times the square.
    found = explain_deformable(Brightness(3, 2, 1).eval(), inputs, still, seen_on(inputs))
    assert found.share_of("fixed") == pytest.approx(0.8, abs=0.02)
    assert found.share_of("fixed") + found.share_of("moving") == pytest.approx(1)


def test_shares_in_a_region(fixed_grid):
    dim = fixed_grid.dim
    bright = spot(fixed_grid, SPOTS[dim])
    inside = (fixed_grid.points() - torch.as_tensor(SPOTS[dim])).norm(dim=-1) <= 8
    region = Image(inside.to(torch.uint8), fixed_grid, "uint8")
    inputs = Inputs(bright, bright, fixed_gland=region).upright()
    still = RigidTransform(np.eye(dim), np.zeros(dim), CENTRES[dim])
    found = explain_deformable(Brightness(dim).eval(), inputs, still, seen_on(inputs))
    volume = {2: np.pi * 8**2, 3: 4 / 3 * np.pi * 8**3}[dim]
    assert found.region_share == pytest.approx(volume / np.prod(found.grid.extent), rel=0.15)
    assert found.share_in_region("fixed") > 0.7
    assert found.share_in_region("fixed") > 2 * found.region_share


def test_no_region_no_share(awkward_grids):
    grid = awkward_grids["plane"]
    inputs, _ = pair(grid, grid)
    found = explain_deformable(Brightness(2).eval(), inputs, MOVED[2], seen_on(inputs))
    assert found.region_share is None
    assert found.share_in_region("fixed") is None


def test_the_length_of_the_displacement_is_in_millimetres():
    grid = Grid.of((12, 10, 8), (3.0, 1.0, 1.0))
    bright = Image(torch.rand(grid.shape), grid)
    still = RigidTransform(np.eye(3), np.zeros(3), np.zeros(3))
    network = Brightness(3, 1.0, 0.0).eval()
    inputs = Inputs(bright, bright)
    found = explain_deformable(network, inputs, still, NetworkGrid(grid))
    # This network moves along the last array axis alone, the grid's first.
    low, high = np.percentile(bright.data, (0.1, 99.8))
    shown = ((bright.data - low) / (high - low)).clamp(0, 1)[None, None]
    voxels = network(shown, shown).displacement[0, 2].detach()
    torch.testing.assert_close(found.length.data, 3 * voxels, rtol=1e-4, atol=1e-4)
    assert found.length_at(grid.to_world((7.3, 2.0, 5.4))) == pytest.approx(3 * float(voxels[5, 2, 7]), rel=1e-4)


def test_refused(awkward_grids):
    grid = awkward_grids["plain"]
    inputs, _ = pair(grid, grid)
    with pytest.raises(ValueError, match="voxel: it lies outside the fixed image"):
        explain_deformable(Brightness(3).eval(), inputs, MOVED[3], seen_on(inputs), point=np.array([0.0, 0.0, 0.0]))
    far = RigidTransform(np.eye(3), np.full(3, 500.0), CENTRES[3])
    with pytest.raises(ValueError, match="moving: after the initial transform"):
        explain_deformable(Brightness(3).eval(), inputs, far, seen_on(inputs))
