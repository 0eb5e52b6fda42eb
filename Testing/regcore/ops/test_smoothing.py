import numpy as np
import pytest
import torch
from scipy import ndimage

from regcore.ops.smoothing import box_sum, gaussian, gaussian_reach


@pytest.mark.parametrize("shape", [(9, 12, 7), (13, 10), (2, 30, 5)])
@pytest.mark.parametrize("width", [1, 3, 5])
def test_box_sum_is_a_uniform_filter_with_zeros_outside(shape, width):
    data = torch.rand(2, 3, *shape)
    size = (1, 1, *[width] * len(shape))
    expected = ndimage.uniform_filter(data.double().numpy(), size, mode="constant") * width ** len(shape)
    np.testing.assert_allclose(box_sum(data, width).numpy(), expected, atol=1e-5)


def test_box_sum_takes_a_width_per_axis_and_leaves_its_input_alone():
    data = torch.rand(1, 1, 6, 7, 8)
    before = data.clone()
    expected = ndimage.uniform_filter(data.double().numpy(), (1, 1, 1, 3, 5), mode="constant") * 15
    np.testing.assert_allclose(box_sum(data, (1, 3, 5)).numpy(), expected, atol=1e-5)
    assert torch.equal(data, before)


@pytest.mark.parametrize("width", [0, 2, -1])
def test_box_sum_refuses_what_has_no_centre(width):
    with pytest.raises(ValueError, match="odd"):
        box_sum(torch.rand(1, 1, 4, 4), width)


@pytest.mark.parametrize("shape", [(15, 12, 9), (20, 17)])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.7])
def test_gaussian_is_scipys_with_the_outside_left_out(shape, sigma):
    data = torch.rand(1, 2, *shape)
    options = {"sigma": (0, 0, *[sigma] * len(shape)), "mode": "constant", "radius": gaussian_reach(sigma)}
    options["radius"] = (0, 0, *[gaussian_reach(sigma)] * len(shape))
    smooth = ndimage.gaussian_filter(data.double().numpy(), **options)
    share = ndimage.gaussian_filter(np.ones(data.shape), **options)
    np.testing.assert_allclose(gaussian(data, sigma).numpy(), smooth / share, atol=1e-6)


def test_gaussian_keeps_constants_and_skips_axes_of_no_width():
    constant = torch.full((1, 1, 5, 6, 7), 3.0)
    torch.testing.assert_close(gaussian(constant, 2.0), constant)
    data = torch.rand(1, 1, 5, 6, 7)
    torch.testing.assert_close(gaussian(data, (0.0, 0.0, 1.0))[0, 0, 2, 3], gaussian(data[0, :, 2, 3:4], [1.0])[0, 0])
    assert torch.equal(gaussian(data, 0.0), data)
