"""The box around an organ: where it lies, and what both volumes look like in it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.crop import CropPair, crop_pair, gland_crop
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import to_sitk, transform_to_sitk
from regcore.preprocess import normalise
from regcore.transform import RigidTransform

from .pairs import blobs_at

SIZE = (8, 12, 10)


def scene(grid: Grid, seed: int) -> Image:
    """Smooth blobs that can be evaluated anywhere, centred where the awkward grids lie."""
    values = blobs_at(grid.points().numpy() - np.array([-30.0, 12.0, 105.0]), seed, radius=22.0)
    return Image(torch.from_numpy(values.astype(np.float32)), grid)


def ball(grid: Grid, centre, radii) -> Image:
    axes = np.abs(grid.axes)
    world = np.asarray(centre)
    # The ellipsoid stands along the grid's axes: radii are given for the world's axes nearest to them.
    order = axes.argmax(axis=0)
    local = (grid.points().numpy() - world) @ grid.axes
    inside = ((local / np.asarray(radii)[order]) ** 2).sum(-1) <= 1
    return Image(torch.from_numpy(inside.astype(np.uint8)), grid, "uint8")


@pytest.fixture(params=["plain", "flipped", "permuted", "rotated", "mirrored"])
def grid(request, awkward_grids) -> Grid:
    return awkward_grids[request.param]


def test_box_is_the_glands_enlarged_about_its_centre(grid):
    centre = grid.centre + np.array([2.0, -1.5, 1.0])
    crop = gland_crop(ball(grid, centre, (11.0, 9.0, 8.0)), SIZE)
    assert crop.shape == SIZE
    assert np.abs(crop.centre - centre).max() < max(grid.spacing)
    # Sides of a digital ellipsoid are its diameters to within a voxel at either end.
    diameters = np.array([22.0, 18.0, 16.0])
    assert np.abs(np.asarray(crop.extent) / 1.6 - diameters).max() < 2 * max(grid.spacing)
    assert np.linalg.det(crop.axes) == pytest.approx(1.0)


def test_storage_order_does_not_move_the_crop(awkward_grids):
    one = awkward_grids["rotated"]
    gland = ball(one, one.centre, (9.0, 8.0, 7.0))
    turned = Grid.of(
        one.size[::-1],
        one.spacing[::-1],
        one.to_world([one.size[0] - 1, 0, 0]).tolist(),
        one.axes[:, ::-1] * np.array([1, 1, -1]),
    )
    same = Image(gland.data.permute(2, 1, 0).flip(0), turned, "uint8")
    assert torch.equal(same.data > 0, same.data == 1)
    a, b = gland_crop(gland, SIZE), gland_crop(same, SIZE)
    assert a.same_as(b, 1e-6)


def test_crops_are_what_simpleitk_resamples(grid, awkward_grids):
    fixed = scene(grid, 1)
    moving = scene(awkward_grids["flipped"], 2)
    transform = RigidTransform.from_euler((5, -8, 20), (2.0, -1.0, 3.0), grid.centre)
    gland = ball(grid, grid.centre, (8.0, 8.0, 8.0))
    crop = gland_crop(gland, (20, 24, 22), 1.2)  # fine enough that nothing is smoothed
    pair = CropPair(fixed, moving, crop, "image")

    def by_itk(image: Image, way: RigidTransform | None) -> np.ndarray:
        source = to_sitk(image.with_data(normalise(image)))
        reference = sitk.Image(list(crop.size), sitk.sitkFloat32)
        reference.SetSpacing(crop.spacing)
        reference.SetOrigin(crop.origin)
        reference.SetDirection(crop.direction)
        itk_way = sitk.Transform(3, sitk.sitkIdentity) if way is None else transform_to_sitk(way)
        return sitk.GetArrayFromImage(sitk.Resample(source, reference, itk_way, sitk.sitkLinear, 0.0))

    assert np.abs(pair.fixed[0, 0].numpy() - by_itk(fixed, None)).max() < 1e-4
    by_matrix = pair.moving(torch.as_tensor(transform.homogeneous)[None])[0, 0].numpy()
    expected = by_itk(moving, transform)
    # ITK cuts off half a voxel beyond the last centre; inside, both are one.
    agree = np.abs(by_matrix - expected) < 1e-4
    assert agree.mean() > 0.9
    assert np.abs(by_matrix - expected)[expected > 0].mean() < 0.01


def test_label_input_shows_the_mask_and_sides_are_millimetres(awkward_grids):
    grid = awkward_grids["plain"]
    gland = ball(grid, grid.centre, (8.0, 7.0, 6.0))
    crop = gland_crop(gland, SIZE)
    image = scene(grid, 1)
    still = RigidTransform.from_euler((0, 0, 0), (0, 0, 0))
    fixed, moving, side = crop_pair(image, image, gland, crop, still, "label")
    assert fixed.shape == moving.shape == (1, 1, *SIZE)
    assert float(fixed.amax()) == pytest.approx(1.0)
    assert float(fixed.mean()) == pytest.approx(np.pi / 6 / 1.6**3, rel=0.15)
    assert torch.allclose(side, torch.tensor([crop.extent], dtype=torch.float32))


def test_fine_images_do_not_alias():
    grid = Grid.of((60, 60, 60), (0.5, 0.5, 0.5))
    stripes = (torch.arange(60) % 2).float().expand(60, 60, 60).contiguous()
    ramp = torch.linspace(0, 1, 60).view(60, 1, 1)
    crop = Grid.of((10, 10, 10), (2.5, 2.5, 2.5), (3.0, 3.0, 3.0))
    shown = CropPair(Image(0.5 * stripes + ramp, grid), Image(stripes, grid), crop, "image").fixed[0, 0]
    # Along the stripes' axis nothing is left of them, along the ramp's everything.
    assert float(shown.std(dim=2).max()) < 1e-3
    assert float(shown.mean(dim=(1, 2)).diff().min()) > 0.05


def test_empty_and_flat_masks_are_refused(awkward_grids):
    grid = awkward_grids["plain"]
    with pytest.raises(ValueError, match="gland: the mask is empty"):
        gland_crop(Image(torch.zeros(grid.shape, dtype=torch.uint8), grid), SIZE)
    plane = awkward_grids["plane"]
    with pytest.raises(ValueError, match="expected a 3D mask, got 2D"):
        gland_crop(Image(torch.ones(plane.shape, dtype=torch.uint8), plane), SIZE)
