import pytest
import torch
import torch.nn.functional as F

from regcore.models.layers.residual_skip import ResidualSkip


def shaken(channels, bottleneck=False):
    torch.manual_seed(0)
    block = ResidualSkip(channels, bottleneck).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    return block


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("size", [(4, 3, 5), (1, 2, 1)], ids=str)
@torch.no_grad()
def test_equals_its_formula(bottleneck, size):
    block, tokens = shaken(8, bottleneck), torch.randn(2, *size, 8, dtype=torch.float64)
    data = identity = tokens.movedim(-1, 1)
    for step, (convolution, norm) in enumerate(zip(block.convolutions, block.norms, strict=True)):
        weight = convolution.weight
        data = F.conv3d(data, weight, padding=weight.shape[-1] // 2)
        data = F.instance_norm(data, weight=norm.weight, bias=norm.bias)
        if step == len(block.norms) - 1:
            data = data + identity
        data = F.leaky_relu(data, 0.2)
    torch.testing.assert_close(block(tokens), data.movedim(1, -1))


def test_numbers_of_parameters():
    def count(block):
        return sum(parameter.numel() for parameter in block.parameters())

    assert count(ResidualSkip(48)) == 2 * (27 * 48 * 48 + 2 * 48)
    assert count(ResidualSkip(48, bottleneck=True)) == 2 * 48 * 12 + 27 * 12 * 12 + 2 * (12 + 12 + 48)


@torch.no_grad()
def test_holds_up_where_the_means_are_large():
    block = ResidualSkip(4)
    torch.manual_seed(0)
    tokens = torch.rand(2, 20, 20, 20, 4) + 100
    torch.testing.assert_close(block(tokens).double(), block.double()(tokens.double()), atol=1e-4, rtol=1e-5)


def test_gradients_reach_the_input_and_every_parameter():
    block, tokens = ResidualSkip(8), torch.randn(2, 3, 4, 2, 8, requires_grad=True)
    block(tokens).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in [tokens, *block.parameters()])


@pytest.mark.parametrize("bottleneck", [False, True])
def test_gradients_of_half_precision_on_maps_of_two_voxels(bottleneck):
    block, data = ResidualSkip(48, bottleneck), torch.randn(2, 2, 2, 2, 48)

    def gradients():
        out = block(data)
        return torch.autograd.grad(out.float().square().sum(), list(block.parameters()))

    exact = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        rough = gradients()
    for one, other in zip(exact, rough, strict=True):
        assert (one - other).norm() < 0.1 * one.norm()
