import pytest
import torch
import torch.nn.functional as F

from regcore.models.layers.convolution import single_channel_convolution
from regcore.models.layers.fields import compose, upsample
from regcore.models.layers.normalisation import channels_last
from regcore.models.layers.pooling import halve
from regcore.models.layers.projection import Projection
from regcore.models.layers.squeeze_excite import SqueezeExcite
from regcore.ops.sampling import warp


def test_constant_shifts_add_up_inside():
    first = torch.tensor([1.5, -0.5, 0.25]).view(1, 3, 1, 1, 1).expand(1, 3, 9, 9, 9)
    then = torch.tensor([-0.75, 1.0, 0.5]).view(1, 3, 1, 1, 1).expand(1, 3, 9, 9, 9)
    inside = (..., *(slice(2, -2),) * 3)
    torch.testing.assert_close(compose(first, then)[inside], (first + then)[inside])


def test_the_first_displacement_is_zero_outside():
    first, then = torch.ones(1, 3, 4, 4, 4), torch.full((1, 3, 4, 4, 4), 10.0)
    assert torch.equal(compose(first, then), then)


def test_composition_warps_like_two_warps():
    torch.manual_seed(0)
    ramp = torch.arange(12.0).view(1, 1, 12, 1, 1) + torch.zeros(1, 1, 12, 12, 12)
    first, then = torch.rand(2, 1, 3, 12, 12, 12) - 0.5
    inside = (..., *(slice(2, -2),) * 3)
    twice = warp(warp(ramp, first), then)
    torch.testing.assert_close(warp(ramp, compose(first, then))[inside], twice[inside])


@pytest.mark.parametrize("size", [(3, 4, 5), (1, 2, 3), (4, 6)], ids=str)
def test_upsampling_doubles_a_constant_displacement(size):
    constant = torch.full((2, len(size), *size), 0.7)
    result = upsample(constant)
    assert result.shape == (2, len(size), *(2 * n for n in size))
    torch.testing.assert_close(result, torch.full_like(result, 1.4))


def test_upsampling_keeps_the_corners():
    field = torch.randn(1, 3, 3, 4, 5)
    result = upsample(field)
    torch.testing.assert_close(result[..., 0, -1, 0], 2 * field[..., 0, -1, 0])


@pytest.mark.parametrize("size", [(4, 6, 8), (4, 6)], ids=str)
def test_single_channel_convolution(size):
    torch.manual_seed(0)
    image, weight = torch.randn(2, 1, *size), torch.randn(5, 1, *(3,) * len(size))
    bias = torch.randn(5)
    convolve = F.conv3d if len(size) == 3 else F.conv2d
    expected = convolve(image, weight, bias, padding=1)
    torch.testing.assert_close(single_channel_convolution(image, weight, bias), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arrange", [channels_last, torch.Tensor.contiguous], ids=["last", "first"])
def test_halving_averages_blocks(arrange):
    data = arrange(torch.randn(2, 3, 4, 6, 8))
    torch.testing.assert_close(halve(data), F.avg_pool3d(data, 2))


def test_projection_commutes_with_warping():
    torch.manual_seed(0)
    projection = Projection(4, 12)
    for parameter in projection.parameters():
        torch.nn.init.normal_(parameter)
    features, image = torch.randn(2, 4, 5, 6, 7), torch.randn(2, 1, 5, 6, 7)
    gate, displacement = torch.rand(2, 4), torch.randn(2, 3, 5, 6, 7)
    ours = projection.normalise(warp(projection.mix(channels_last(features), gate, image), displacement))
    stacked = torch.cat([features * gate[:, :, None, None, None], image], 1)
    plain = projection.norm(projection.linear(warp(stacked, displacement).movedim(1, -1))).movedim(-1, 1)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)


def test_gate_without_hidden_units_is_one_half():
    gate = SqueezeExcite(8)
    assert gate.squeeze.numel() == 0
    assert torch.equal(gate(torch.randn(2, 8, 2, 2, 2)), torch.full((2, 8), 0.5))


def test_gate_equals_its_formula():
    gate, data = SqueezeExcite(32), torch.randn(2, 32, 3, 3, 3)
    hidden = F.leaky_relu(data.mean((2, 3, 4)) @ gate.squeeze.T, 0.01)
    torch.testing.assert_close(gate(data), torch.sigmoid(hidden @ gate.excite.T))
