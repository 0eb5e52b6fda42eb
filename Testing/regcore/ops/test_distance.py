import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.spatial import cKDTree

from regcore.ops.distance import crossings, signed_distance

SPACING = (3.0, 0.7, 1.1)


def _speckles(shape, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.9).float()


def _voxels(shape):
    return np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)


def _ball(radius, shape, spacing, centre):
    return np.linalg.norm((_voxels(shape) - centre) * spacing, axis=-1) - radius


@pytest.mark.parametrize("shape", [(12, 9, 14), (20, 17), (5, 1, 7)])
@pytest.mark.parametrize("smooth", [False, True])
def test_distances_are_the_nearest_crossings(shape, smooth):
    occupancy = _speckles(shape)
    if smooth:
        occupancy = torch.as_tensor(ndimage.gaussian_filter(occupancy.numpy(), 0.7)) * 2.5
    spacing = SPACING[: len(shape)]
    points = torch.cat(crossings(occupancy)).numpy() * spacing
    expected, _ = cKDTree(points).query(_voxels(shape) * spacing)
    distance = signed_distance(occupancy, spacing).numpy()
    np.testing.assert_allclose(np.abs(distance), expected, atol=1e-6)
    np.testing.assert_array_equal(distance < 0, occupancy.numpy() > 0.5)


def test_a_crossing_lies_where_the_occupancy_is_one_half():
    first, second = crossings(torch.tensor([[0.0, 0.2, 1.0], [0.0, 0.2, 1.0]]))
    assert len(first) == 0
    np.testing.assert_allclose(second, [[0, 1.375], [1, 1.375]])


def test_both_sides_of_a_flat_border_are_as_far_as_they_truly_are():
    mask = torch.zeros(4, 6, 5)
    mask[:, 3:] = 1
    distance = signed_distance(mask, (1.0, 2.0, 1.0))
    np.testing.assert_allclose(distance[1, :, 2], [5, 3, 1, -1, -3, -5])


def test_the_edge_of_the_array_is_no_border():
    mask = torch.ones(3, 4, 5)
    assert bool(signed_distance(mask, (1, 1, 1)).eq(-torch.inf).all())


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 1.0)])
def test_distances_to_a_ball_are_finer_than_a_voxel(spacing):
    shape = tuple(int(34 / s) for s in spacing)
    true = _ball(11.0, shape, spacing, (np.asarray(shape) - 1) / 2 + 0.3)
    error = (signed_distance(torch.as_tensor(true < 0).float(), spacing).numpy() - true)[np.abs(true) < 4]
    assert np.abs(error).mean() < 0.25 * max(spacing)
    assert abs(error.mean()) < 0.08


def test_distances_agree_with_simpleitk_to_half_a_voxel():
    shape, spacing = (20, 40, 36), (1.8, 0.8, 1.0)
    mask = (_ball(10.0, shape, spacing, (9.7, 19.2, 17.6)) < 0).astype(np.uint8)
    image = sitk.GetImageFromArray(mask)
    image.SetSpacing(spacing[::-1])
    theirs = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    )
    ours = signed_distance(torch.as_tensor(mask).float(), spacing).numpy()
    # Theirs are to the centres of the outermost voxels inside: half a voxel farther in than the border.
    difference = theirs - ours
    assert difference.min() > -0.1
    assert difference.max() < max(spacing)
    assert 0.3 < difference.mean() < 0.7


def test_partly_filled_voxels_give_a_finer_border_than_rounded_ones():
    true = _ball(11.0, (32, 32, 32), (1, 1, 1), (15.7, 15.2, 16.1))
    fine = _ball(22.0, (64, 64, 64), (1, 1, 1), np.array((15.7, 15.2, 16.1)) * 2 + 0.5)
    share = F.avg_pool3d(torch.as_tensor(fine < 0).float()[None, None], 2)[0, 0]
    near = np.abs(true) < 3

    def error(occupancy):
        return np.abs(signed_distance(occupancy, (1, 1, 1)).numpy() - true)[near].mean()

    assert error(share) < 0.6 * error((share > 0.5).float())
