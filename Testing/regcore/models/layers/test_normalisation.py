import pytest
import torch
import torch.nn.functional as F

from regcore.models.layers import normalisation as module
from regcore.models.layers.normalisation import channels_last, instance_norm_leaky_relu_, rows


@pytest.mark.parametrize("size", [(4, 5, 6), (4, 4, 4), (5, 3)], ids=str)
@pytest.mark.parametrize("elements", [2**18, 40], ids=["one slab", "many slabs"])
def test_equals_the_library_with_gradients(size, elements, monkeypatch):
    monkeypatch.setitem(module._ELEMENTS, "cpu", elements)
    torch.manual_seed(0)
    data = (3 + 2 * torch.randn(2, 4, *size, dtype=torch.float64)).requires_grad_()
    ours = instance_norm_leaky_relu_(data.clone(), 0.1)
    expected = F.leaky_relu(F.instance_norm(data), 0.1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)
    incoming = torch.randn_like(ours)
    got, want = (torch.autograd.grad(x, data, incoming)[0] for x in (ours, expected))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_statistics_survive_a_large_mean():
    torch.manual_seed(0)
    data = torch.randn(1, 8, 16, 16, 16)
    expected = F.leaky_relu(F.instance_norm(data.double()), 0.1).float()
    # 1e3 costs ten of the 24 bits of each value; one-pass sums of squares would lose all of them.
    torch.testing.assert_close(instance_norm_leaky_relu_(data + 1e3), expected, rtol=0, atol=1e-3)


def test_a_single_voxel_becomes_zero():
    assert torch.equal(instance_norm_leaky_relu_(torch.full((1, 2, 1, 1, 1), 7.0)), torch.zeros(1, 2, 1, 1, 1))


def test_overwrites_channels_last_data_and_keeps_its_dtype():
    data = channels_last(torch.randn(1, 8, 4, 4, 4).bfloat16())
    result = instance_norm_leaky_relu_(data)
    assert result.data_ptr() == data.data_ptr()
    assert result.dtype == torch.bfloat16


def test_rows_are_a_view_of_channels_last_data():
    data = channels_last(torch.randn(2, 3, 4, 5, 6))
    assert rows(data).shape == (2, 120, 3)
    assert rows(data).data_ptr() == data.data_ptr()


def test_refuses_a_slope_that_cannot_be_inverted():
    with pytest.raises(ValueError, match="slope must be positive"):
        instance_norm_leaky_relu_(torch.zeros(1, 1, 2, 2), slope=0.0)
