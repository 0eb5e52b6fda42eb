import pytest
import torch
import torch.nn.functional as F

from regcore.ops.pyramid import downsample, downsample_displacement, upsample, upsample_displacement
from regcore.ops.sampling import identity_coordinates


def ramp(shape):
    return identity_coordinates(shape, torch.zeros(1))


def test_block_centres_lie_between_voxels():
    coarse = downsample(ramp((8, 12)), (2, 4))
    factor = torch.tensor([2.0, 4.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(coarse, ramp((4, 3)) * factor + (factor - 1) / 2)


@pytest.mark.parametrize("shape", [(9, 14, 11), (15, 17)])
def test_up_after_down_gives_a_ramp_back_inside(shape):
    factors = [2] * len(shape)
    back = upsample(downsample(ramp(shape), factors), factors, shape)
    assert back.shape == ramp(shape).shape
    inside = (..., *[slice(2, -4)] * len(shape))
    torch.testing.assert_close(back[inside], ramp(shape)[inside])


@pytest.mark.parametrize(("size", "factors"), [((9, 14, 11), (2, 2, 2)), ((3, 8, 17), (1, 8, 4)), ((15, 17), (4, 2))])
def test_downsampling_is_torchs_pooling(size, factors):
    data = torch.rand(2, 3, *size)
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[len(size)]
    torch.testing.assert_close(downsample(data, factors), pool(data, factors, ceil_mode=True, count_include_pad=False))


def test_an_axis_shorter_than_a_block_is_averaged_whole():
    data = torch.rand(1, 1, 2, 3, 6)
    torch.testing.assert_close(downsample(data, (4, 8, 1)), data.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 3, 4), (4, 2)])
def test_upsampling_is_torchs_interpolation(factors):
    data = torch.rand(2, 3, *[5, 1, 6][: len(factors)])
    mode = {2: "bilinear", 3: "trilinear"}[len(factors)]
    whole = F.interpolate(data, scale_factor=[float(f) for f in factors], mode=mode, align_corners=False)
    torch.testing.assert_close(upsample(data, factors, whole.shape[2:]), whole)
    cut = [max(1, n - 1) for n in whole.shape[2:]]
    torch.testing.assert_close(upsample(data, factors, cut), whole[(..., *[slice(n) for n in cut])])


def test_displacements_are_counted_in_voxels_of_their_own_grid():
    shift = torch.tensor([2.0, 4.0, 6.0]).view(1, 3, 1, 1, 1).expand(1, 3, 8, 8, 9)
    coarse = downsample_displacement(shift, (1, 2, 2))
    assert coarse.shape == (1, 3, 8, 4, 5)
    torch.testing.assert_close(coarse[0, :, 0, 0, 0], torch.tensor([2.0, 2.0, 3.0]))
    torch.testing.assert_close(upsample_displacement(coarse, (1, 2, 2), (8, 8, 9)), shift.contiguous())


def test_factor_one_changes_nothing():
    data = torch.rand(1, 1, 5, 6)
    assert torch.equal(downsample(data, (1, 1)), data)
    assert torch.equal(upsample(data, (1, 1), (5, 6)), data)
