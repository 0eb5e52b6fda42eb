import numpy as np
import pytest
import torch

from regcore.gland_surface import GlandSurface
from regcore.grid import Grid
from regcore.image import Image

from .organs import CENTRE, ball, grid_about, organ

FINE = grid_about(CENTRE, (40, 40, 40), (1.0, 1.0, 1.0))


def _sphere_error(surface, radius):
    """Signed distances at points within 5 mm of the sphere, off the true ones."""
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    true = rng.uniform(-5, 5, 500)
    points = CENTRE + directions * (radius + true)[:, None]
    probe = surface.probe(torch.as_tensor(points))
    return probe.distance.numpy() - true, probe.slope.numpy(), directions


@pytest.mark.parametrize("name", ["plain", "flipped", "permuted", "rotated", "mirrored"])
def test_distances_and_slopes_are_those_of_a_sphere_in_the_world(awkward_grids, name):
    surface = GlandSurface.of(ball(awkward_grids[name], CENTRE, 11.0))
    error, slope, outwards = _sphere_error(surface, 11.0)
    assert 0 < error.mean() < 0.3  # smoothing takes the square of a voxel, here 1 to 2 mm, over the radius
    assert np.abs(error).mean() < 0.4
    assert (slope * outwards).sum(1).min() > 0.6
    radii = np.linalg.norm(surface.points.numpy() - CENTRE, axis=1)
    assert abs(float(surface.weights.numpy() @ radii) - 11.0) < 0.3
    np.testing.assert_allclose(surface.centre, CENTRE, atol=0.1)


def test_the_weights_spread_evenly_over_thick_slices():
    grid = grid_about(CENTRE, (64, 64, 12), (0.6, 0.6, 3.0))
    surface = GlandSurface.of(ball(grid, CENTRE, 12.0))
    z = (surface.points.numpy() - CENTRE)[:, 2] / 12
    # A sphere's surface is uniform along any axis: the mean of z^2 is 1/3.
    assert abs(float(surface.weights.numpy() @ z**2) - 1 / 3) < 0.05


def test_very_fine_masks_are_shrunk_and_stay_accurate():
    grid = grid_about(CENTRE, (120, 116, 100), (0.25, 0.25, 0.3))
    surface = GlandSurface.of(ball(grid, CENTRE, 10.0))
    assert surface.distance.numel() <= 80_000
    assert np.abs(_sphere_error(surface, 10.0)[0]).mean() < 0.1


def test_beyond_its_box_a_distance_is_no_less_than_the_true_one():
    surface = GlandSurface.of(ball(FINE, CENTRE, 10.0))
    far = torch.as_tensor(CENTRE + np.array([[60.0, 0, 0], [0, -45, 0], [30, 40, 50]]))
    true = torch.tensor([50.0, 35, 50 * 2**0.5 - 10])
    probe = surface.probe(far)
    assert bool((probe.distance >= true - 0.6).all())
    assert bool((probe.distance <= 1.5 * true).all())
    step = 1e-3 * torch.eye(3, dtype=torch.float64)[:, None]
    numeric = (surface.probe((far + step).reshape(-1, 3)).distance - probe.distance.repeat(3)).reshape(3, 3).T / 1e-3
    np.testing.assert_allclose(probe.slope, numeric, atol=1e-3)


def test_cavities_are_no_surface():
    whole = ball(FINE, CENTRE, 11.0)
    holed = whole.with_data(whole.data & (1 - ball(FINE, CENTRE + np.array([3, -2, 1]), 3.0).data))
    assert int(holed.data.sum()) < int(whole.data.sum()) - 50
    a, b = GlandSurface.of(whole), GlandSurface.of(holed)
    assert torch.equal(a.distance, b.distance)
    assert torch.equal(a.points, b.points)


def test_where_the_mask_is_cut_off_there_is_no_surface_and_nothing_is_known_beyond():
    grid = Grid.of((40, 40, 24), (1, 1, 1), (CENTRE - [19.5, 19.5, 4]).tolist())  # from 4 mm below the centre
    surface = GlandSurface.of(ball(grid, CENTRE, 11.0))
    assert surface.is_cut
    lowest = CENTRE[2] - 4.5
    assert float(surface.points[:, 2].min()) > lowest - 1e-6
    radii = np.linalg.norm(surface.points.numpy() - CENTRE, axis=1)
    assert radii.min() > 10
    points = torch.as_tensor(CENTRE + np.array([[0, 0, -6.0], [0, 0, -4.0], [0, 30, 0]]))
    assert surface.probe(points).known.tolist() == [False, True, True]


def test_a_mask_within_its_image_is_known_everywhere():
    surface = GlandSurface.of(organ(FINE))
    assert not surface.is_cut
    assert bool(surface.probe(torch.as_tensor(CENTRE + np.eye(3) * 500)).known.all())


def test_a_speck_is_no_organ():
    data = torch.zeros(9, 9, 9, dtype=torch.uint8)
    data[4, 4, 4] = 1
    with pytest.raises(ValueError, match="gland: the mask is thinner than two voxels"):
        GlandSurface.of(Image(data, Grid.of((9, 9, 9))))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (torch.zeros(5, 5, 5), "organ: the mask is empty"),
        (torch.full((5, 5, 5), torch.nan), "organ: expected finite voxels"),
        (torch.full((5, 5, 5), torch.inf), "organ: expected finite voxels"),
        (torch.ones(5, 5, 5), "organ: the mask fills its whole image"),
        (torch.ones(5, 5), "organ: expected a 3D mask, got 2D"),
        (torch.ones(1, 5, 7), "organ: expected a volume, got 7 x 5 x 1 voxels"),
    ],
)
def test_what_is_no_organ_is_refused(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        GlandSurface.of(Image(data, Grid.of(data.shape[::-1])), "organ")
