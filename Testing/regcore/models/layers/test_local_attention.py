import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.models.layers import local_attention as module
from regcore.models.layers.local_attention import local_attention, neighbour_offsets

SHAPES = [(3, 4, 5), (2, 1, 3), (5, 3)]


def brute_force(query: Tensor, key: Tensor, bias: Tensor, mask_outside: bool) -> Tensor:
    """One neighbour after the other, by the formula."""
    size, heads = query.shape[2:], bias.shape[0]
    border = (1, 1) * len(size)
    padded = F.pad(key, border)
    inside = F.pad(torch.ones(1, 1, *size), border)
    logits = []
    for shift in itertools.product(range(3), repeat=len(size)):
        there = (..., *(slice(a, a + n) for a, n in zip(shift, size, strict=True)))
        product = (query * padded[there]).unflatten(1, (heads, -1)).sum(2)
        logit = product + bias[(slice(None), *shift)].view(1, heads, *[1] * len(size))
        back = (..., *(slice(2 - a, 2 - a + n) for a, n in zip(shift, size, strict=True)))
        outside = inside[there] * inside[back] == 0
        logits.append(logit.masked_fill(outside, -torch.inf) if mask_outside else logit)
    weights = torch.stack(logits, -1).softmax(-1)
    return (weights @ neighbour_offsets(len(size), query)).movedim(-1, 2).flatten(1, 2)


def random_inputs(size, heads=2, channels=3, batch=2, dtype=torch.float64):
    torch.manual_seed(3)
    query, key = torch.randn(2, batch, heads * channels, *size, dtype=dtype)
    bias = torch.randn(heads, *(3,) * len(size), dtype=dtype)
    return [x.clone().requires_grad_() for x in (query, key, bias)]


@pytest.mark.parametrize("tiles", [None, (7, 30)], ids=["one tile", "many tiles and slabs"])
@pytest.mark.parametrize("mask_outside", [False, True])
@pytest.mark.parametrize("size", SHAPES, ids=str)
def test_equals_brute_force_with_gradients(size, mask_outside, tiles, monkeypatch):
    if tiles:
        monkeypatch.setitem(module._TILE, "cpu", tiles[0])
        monkeypatch.setitem(module._SLAB, "cpu", tiles[1])
    inputs = random_inputs(size)
    ours = local_attention(*inputs, mask_outside=mask_outside)
    expected = brute_force(*inputs, mask_outside)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)
    incoming = torch.randn_like(ours)
    for got, want in zip(
        torch.autograd.grad(ours, inputs, incoming),
        torch.autograd.grad(expected, inputs, incoming),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(local_attention(*inputs, mask_outside=mask_outside), ours)


@pytest.mark.parametrize("mask_outside", [False, True])
def test_gradcheck(mask_outside):
    inputs = random_inputs((2, 1, 3), channels=2)
    assert torch.autograd.gradcheck(lambda *x: local_attention(*x, mask_outside=mask_outside), inputs)


@pytest.mark.parametrize("size", [(3, 4, 5)], ids=str)
def test_slabs_on_other_strides(size):
    query, key, bias = random_inputs(size)
    strided = [x.detach().movedim(1, -1).contiguous().movedim(-1, 1) for x in (query, key)]
    torch.testing.assert_close(local_attention(*strided, bias), local_attention(query, key, bias))


@pytest.mark.parametrize(("mask_outside", "face"), [(False, 0.498), (True, 0.0)])
def test_constant_features_are_drawn_inwards_at_the_faces_unless_masked(mask_outside, face):
    features = torch.ones(1, 6, 4, 5, 6)  # q . k = 6
    out = local_attention(features, features, torch.zeros(1, 3, 3, 3), mask_outside=mask_outside)
    torch.testing.assert_close(out[0, 0, :, 2, 3], torch.tensor([face, 0.0, 0.0, -face]), atol=1e-3, rtol=0)


def test_large_bias_does_not_overflow():
    query, key, bias = random_inputs((2, 3, 3), dtype=torch.float32)
    out = local_attention(query, key, bias + 200)
    out.sum().backward()
    torch.testing.assert_close(out, local_attention(query, key, bias), atol=1e-4, rtol=0)
    assert all(torch.isfinite(x.grad).all() for x in (query, key, bias))


def test_half_precision_inputs_give_a_float32_result():
    query, key, bias = random_inputs((3, 3, 3), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = local_attention(query.bfloat16(), key.bfloat16(), bias)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, local_attention(query, key, bias), atol=0.05, rtol=0)
    out.sum().backward()
    assert query.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("query", "key", "bias", "message"),
    [
        ((1, 6, 2, 2, 2), (1, 6, 2, 2, 3), (1, 3, 3, 3), "one shape"),
        ((1, 6, 2), (1, 6, 2), (1, 3), "two or three axes"),
        ((1, 6, 2, 2, 2), (1, 6, 2, 2, 2), (1, 3, 3), "bias must be"),
        ((1, 6, 2, 2, 2), (1, 6, 2, 2, 2), (4, 3, 3, 3), "dividing the 6 channels"),
    ],
)
def test_refuses_shapes_that_do_not_fit(query, key, bias, message):
    with pytest.raises(ValueError, match=message):
        local_attention(torch.zeros(query), torch.zeros(key), torch.zeros(bias))
