import pytest
import torch
import torch.nn.functional as F

from regcore.models.layers.convolution import Convolution3d, convolution3, single_channel_convolution
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


@pytest.mark.parametrize("size", [(4, 6, 8), (5, 6, 8), (1, 6, 8), (4, 6)], ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_single_channel_convolution(size, batch):
    torch.manual_seed(0)
    image, weight = torch.randn(batch, 1, *size), torch.randn(5, 1, *(3,) * len(size))
    bias = torch.randn(5)
    convolve = F.conv3d if len(size) == 3 else F.conv2d
    expected = convolve(image, weight, bias, padding=1)
    torch.testing.assert_close(single_channel_convolution(image, weight, bias), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 4, 5), (2, 4, 5), (3, 3, 3), (6, 5, 4), (7, 5, 4), (4, 160, 40)], ids=str)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("with_bias", [True, False])
def test_one_volume_in_halves_is_the_convolution_and_so_are_its_gradients(size, batch, with_bias):
    torch.manual_seed(0)
    values = [torch.randn(batch, 3, *size), torch.randn(5, 3, 3, 3, 3), torch.randn(5)]
    found, expected = ([value.double().requires_grad_() for value in values] for _ in range(2))
    outcome = convolution3(*found[: 2 + with_bias])
    plain = F.conv3d(*expected[: 2 + with_bias], padding=1)
    torch.testing.assert_close(outcome, plain)
    weights = torch.randn_like(plain)
    for result in (outcome, plain):
        (result * weights).sum().backward()
    for one, other in list(zip(found, expected, strict=True))[: 2 + with_bias]:
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("padding", [0, 1])
def test_the_convolution_layer_is_the_plain_one(padding):
    torch.manual_seed(0)
    layer = Convolution3d(3, 4, 2 * padding + 1, padding=padding)
    data = torch.randn(1, 3, 6, 5, 4)
    torch.testing.assert_close(layer(data), F.conv3d(data, layer.weight, layer.bias, padding=padding))


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
