"""Maps of two images: where they land in mm, on grids of any orientation, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.crop import gland_crop
from regcore.explanation import explain, put_back
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.io import transform_to_sitk
from regcore.models.attention_reg import AttentionReg
from regcore.models.base import Convention
from regcore.preprocess import Inputs
from regcore.transform import RigidTransform

SIZE = (16, 32, 32)
CENTRE = np.array([-30.0, 12.0, 105.0])  # where the awkward grids have theirs (mm)
SPOT = CENTRE + np.array([5.0, -4.0, 3.0])
MOVED = RigidTransform.from_euler((8, -5, 12), (4.0, -3.0, 2.5), CENTRE)
GRIDS = ["plain", "flipped", "permuted", "rotated", "mirrored"]


def spot(grid: Grid, where: Matrix, sigma: float = 2.5) -> Image:
    squared = (grid.points() - torch.as_tensor(where)).square().sum(-1)
    return Image(torch.exp(-squared / (2 * sigma**2)).float(), grid)


def ball(grid: Grid, radius: float = 9.0) -> Image:
    inside = (grid.points() - torch.as_tensor(CENTRE)).norm(dim=-1) <= radius
    return Image(inside.to(torch.uint8), grid, "uint8")


def centroid(image: Image) -> Matrix:
    """Centre (mm) of what is above half the maximum."""
    weight = (image.data - 0.5 * image.data.max()).clamp_min(0).double()
    return ((weight[..., None] * image.grid.points()).sum(dim=(0, 1, 2)) / weight.sum()).numpy()


@pytest.fixture(scope="module")
def brightness() -> AttentionReg:
    """A network whose maps are the brightness of its crops: features are the pooled image, every slope positive."""
    torch.manual_seed(0)
    model = AttentionReg(SIZE, Convention("image", "crop", "joint", "mm"), attention=False).eval()
    for path in (model.fixed_path, model.moving_path):
        for conv in (path[0], path[4]):
            conv.weight.data.zero_()
            conv.weight.data[0, 0, 1, 1, 1] = 1
    for part in (model.fuse, model.head):
        for parameter in part.parameters():
            parameter.data.abs_()
    return model


@pytest.fixture(params=GRIDS)
def fixed_grid(request, awkward_grids) -> Grid:
    return awkward_grids[request.param]


@pytest.mark.parametrize("mode", ["activations", "weights"])
def test_maps_light_up_where_the_spots_are(mode, fixed_grid, awkward_grids, brightness):
    moving_grid = awkward_grids["mirrored"]
    there = MOVED(SPOT) + np.array([0.0, 3.0, 0.0])
    inputs = Inputs(spot(fixed_grid, SPOT), spot(moving_grid, there), fixed_gland=ball(fixed_grid))
    found = explain(brightness, inputs, MOVED, mode=mode)
    volumes = found.volumes(fixed_grid, moving_grid)
    assert set(volumes) == {"gradcam_fixed", "gradcam_moving", "gradcam_moving_native"}
    wanted = {
        "gradcam_fixed": (fixed_grid, SPOT),
        "gradcam_moving": (fixed_grid, MOVED.inverse()(there)),
        "gradcam_moving_native": (moving_grid, there),
    }
    # A feature of this crop is 3.6 mm wide; half of one would show a map put back by the wrong corner.
    for name, (grid, where) in wanted.items():
        assert volumes[name].grid == grid
        assert np.linalg.norm(centroid(volumes[name]) - where) < 1.2, name
        assert float(volumes[name].data.min()) == 0
        assert 0.8 < float(volumes[name].data.max()) < 1 + 1e-6


def test_one_hot_voxel_lands_where_it_is(fixed_grid, awkward_grids, as_itk):
    crop = gland_crop(ball(fixed_grid), (8, 8, 8))
    data = torch.zeros(crop.shape)
    data[2, 5, 3] = 1
    hot, where = Image(data, crop), crop.to_world([3, 5, 2])
    on_fixed = put_back(hot, fixed_grid)
    assert np.linalg.norm(centroid(on_fixed) - where) < max(fixed_grid.spacing)
    moving_grid = awkward_grids["permuted"]
    on_moving = put_back(hot, moving_grid, MOVED.inverse())
    assert np.linalg.norm(centroid(on_moving) - MOVED(where)) < max(moving_grid.spacing)
    for ours, grid, way in (
        (on_fixed, fixed_grid, sitk.Transform(3, sitk.sitkIdentity)),
        (on_moving, moving_grid, transform_to_sitk(MOVED.inverse())),
    ):
        reference = as_itk(Image(torch.zeros(grid.shape), grid))
        theirs = sitk.GetArrayFromImage(sitk.Resample(as_itk(hot), reference, way))
        np.testing.assert_allclose(ours.data.numpy(), theirs, atol=1e-4)


def test_outside_the_crop_is_nothing(fixed_grid):
    crop = gland_crop(ball(fixed_grid), (8, 8, 8))
    full = put_back(Image(torch.ones(crop.shape), crop), fixed_grid)
    index = crop.to_index(fixed_grid.points().numpy())
    inside = ((index > -0.5 + 1e-6) & (index < 7.5 - 1e-6)).all(axis=-1)
    np.testing.assert_allclose(full.data.numpy(), inside.astype(np.float32), atol=1e-6)


def test_a_chosen_voxel_is_found_in_the_other_image(awkward_grids):
    fixed_grid, moving_grid = awkward_grids["rotated"], awkward_grids["flipped"]
    torch.manual_seed(0)
    model = AttentionReg(SIZE, Convention("image", "crop", "joint", "mm")).eval()
    model.moving_path.load_state_dict(model.fixed_path.state_dict())
    for block in model.blocks:
        for layer in (block.query, block.key):
            layer.weight.data = 3 * torch.eye(16, 32).view(16, 32, 1, 1, 1)
            layer.bias.data.zero_()
    # The moving spot lies 7 mm from where the transform expects it: attention has to look there.
    there = MOVED(SPOT + np.array([-7.0, 0.0, 0.0]))
    inputs = Inputs(spot(fixed_grid, SPOT), spot(moving_grid, there), fixed_gland=ball(fixed_grid))
    voxel = np.rint(fixed_grid.to_index(SPOT)).astype(int).tolist()
    volumes = explain(model, inputs, MOVED, voxel=voxel).volumes(fixed_grid, moving_grid)
    seen = SPOT + np.array([-7.0, 0.0, 0.0])
    assert np.linalg.norm(centroid(volumes["attention_over_moving"]) - seen) < 2.5
    assert np.linalg.norm(centroid(volumes["attention_over_moving_native"]) - there) < 2.5
    # At the voxel's own place the moving image is dark.
    assert float(volumes["attention_over_fixed"].data.max()) < 0.5 * float(volumes["attention_over_moving"].data.max())


def test_shares_in_the_gland(fixed_grid, brightness):
    inputs = Inputs(spot(fixed_grid, CENTRE), spot(fixed_grid, CENTRE), fixed_gland=ball(fixed_grid))
    found = explain(brightness, inputs, RigidTransform(np.eye(3), np.zeros(3), CENTRE))
    ones = Image(torch.ones(SIZE), found.crop)
    assert found.share_in_gland(ones) == pytest.approx(found.gland_share)
    assert found.share_in_gland(found.gland) == 1
    assert found.share_in_gland(Image(torch.zeros(SIZE), found.crop)) is None
    # A ball in its bounding box of 1.6 times its sides.
    assert found.gland_share == pytest.approx(np.pi / 6 / 1.6**3, rel=0.15)
    # The network widens a spot by its pooling, but not fourfold.
    assert found.share_in_gland(found.fixed) > 4 * found.gland_share


def test_gland_on_another_grid_gives_the_same_maps(awkward_grids, brightness):
    grid, other = awkward_grids["rotated"], awkward_grids["plain"]
    inputs = Inputs(spot(grid, SPOT), spot(other, SPOT), fixed_gland=ball(grid))
    still = RigidTransform(np.eye(3), np.zeros(3), CENTRE)
    one = explain(brightness, inputs, still).volumes(grid, other)["gradcam_fixed"]
    two = explain(brightness, replace(inputs, fixed_gland=ball(other)), still).volumes(grid, other)["gradcam_fixed"]
    assert np.linalg.norm(centroid(one) - centroid(two)) < 1.5


def test_label_networks_see_the_mask(awkward_grids, brightness):
    grid = awkward_grids["plain"]
    inputs = Inputs(spot(grid, SPOT), spot(grid, SPOT), fixed_gland=ball(grid))
    still = RigidTransform(np.eye(3), np.zeros(3), CENTRE)
    brightness.convention = brightness.convention._replace(fixed_input="label")
    found = explain(brightness, inputs, still)
    brightness.convention = brightness.convention._replace(fixed_input="image")
    assert np.linalg.norm(centroid(found.fixed) - CENTRE) < 1
    assert np.linalg.norm(centroid(found.moving) - SPOT) < 1.2


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({"fixed_gland": None}, {}, "fixed-labels: the crop needs the gland"),
        ({}, {"voxel": (36, 0, 0)}, "voxel: expected i,j,k inside the fixed image of 36x30x18"),
        ({}, {"voxel": (1, 2)}, "voxel: expected i,j,k"),
        ({}, {"voxel": (0, 0, 0)}, "outside the gland's crop.*nearer to the crop's middle at 1[78],1[45],[89]"),
        ({}, {"voxel": (18, 15, 9)}, "no attention to show"),
        ({}, {"transform": RigidTransform(np.eye(3), np.full(3, 500.0), CENTRE)}, "moving: nothing of it lies"),
    ],
)
def test_refused(change, arguments, words, awkward_grids, brightness):
    grid = awkward_grids["rotated"]
    inputs = replace(Inputs(spot(grid, SPOT), spot(grid, SPOT), fixed_gland=ball(grid)), **change)
    given = {"transform": RigidTransform(np.eye(3), np.zeros(3), CENTRE), **arguments}
    with pytest.raises(ValueError, match=words):
        explain(brightness, inputs, **given)


def test_an_empty_gland_is_refused(awkward_grids, brightness):
    grid = awkward_grids["plain"]
    empty = Image(torch.zeros(grid.shape, dtype=torch.uint8), grid, "uint8")
    with pytest.raises(ValueError, match="mask is empty"):
        explain(brightness, Inputs(spot(grid, SPOT), spot(grid, SPOT), fixed_gland=empty), MOVED)
