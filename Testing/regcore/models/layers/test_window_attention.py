import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regcore.models.layers import window_attention as module
from regcore.models.layers.window_attention import window_attention

WINDOWS = [(2, 3), (4, 2), (1, 3), (3, 3), (2, 1), (2, 2)]


def one_by_one(query, key_value, heads, window, magnification):
    """Window after window, with the keys that lie inside the volume and no others."""
    halo = window * (magnification - 1) // 2
    channels = query.shape[-1]
    out = torch.zeros_like(query)
    for item in range(len(query)):
        starts = (range(0, n, window) for n in query.shape[1:4])
        for corner in torch.cartesian_prod(*(torch.tensor(list(start)) for start in starts)).tolist():
            inner = (item, *(slice(c, c + window) for c in corner))
            wide = (item, *(slice(max(0, c - halo), c + window + halo) for c in corner))
            queries = query[inner].reshape(-1, heads, channels // heads)
            keys, values = key_value[wide].reshape(-1, 2, heads, channels // heads).unbind(1)
            logits = torch.einsum("qhc,khc->hqk", queries, keys) / (channels // heads) ** 0.5
            out[inner] = torch.einsum("hqk,khc->qhc", logits.softmax(-1), values).reshape(query[inner].shape)
    return out


def random(size, channels=8, batch=2, **options):
    torch.manual_seed(0)
    options = {"dtype": torch.float64, **options}
    return torch.randn(batch, *size, channels, **options), torch.randn(batch, *size, 2 * channels, **options)


@pytest.mark.parametrize(("window", "magnification"), WINDOWS)
@pytest.mark.parametrize("size", [(4, 4, 8), (5, 7, 4), (1, 2, 3)], ids=str)
def test_equals_a_loop_over_the_windows(window, magnification, size):
    pair = random(size, requires_grad=True)
    weights = torch.randn_like(pair[0])
    results, gradients = [], []
    for attend in (window_attention, one_by_one):
        results.append(attend(*pair, 2, window, magnification))
        gradients.append(torch.autograd.grad((results[-1] * weights).sum(), pair))
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*gradients)


@given(
    size=st.tuples(*[st.integers(1, 7)] * 3),
    windows=st.sampled_from(WINDOWS),
    heads=st.sampled_from([1, 2, 4]),
    cached=st.sampled_from([1, 2000, 2**20]),
)
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_the_pieces_do_not_matter(size, windows, heads, cached):
    query, key_value = random(size)
    before = module._CACHED
    module._CACHED = cached
    try:
        in_pieces = window_attention(query, key_value, heads, *windows)
    finally:
        module._CACHED = before
    torch.testing.assert_close(in_pieces, one_by_one(query, key_value, heads, *windows))


@torch.no_grad()
def test_the_keys_are_never_copied_as_a_whole(monkeypatch):
    largest = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, attn_mask):
        largest.append(key.numel() + value.numel())
        return attend(query, key, value, attn_mask=attn_mask)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    monkeypatch.setattr(module, "_CACHED", 3 * 10 * 216 * 16)
    query, key_value = random((20, 20, 20))
    window_attention(query, key_value, 1)
    assert max(largest) == module._CACHED
    assert sum(largest) == query[..., 0].numel() // 8 * 216 * 16


@torch.no_grad()
def test_a_constant_volume_gives_a_constant():
    key_value = torch.arange(16.0, dtype=torch.float64).expand(1, 5, 4, 7, 16)
    found = window_attention(random((5, 4, 7), batch=1)[0], key_value, 2)
    torch.testing.assert_close(found, key_value[..., 8:])


@torch.no_grad()
def test_one_token_finds_itself():
    query, key_value = random((1, 1, 1))
    torch.testing.assert_close(window_attention(query, key_value, 2), key_value[..., 8:])


def test_gradients_are_exact():
    pair = random((3, 2, 2), channels=2, batch=1, requires_grad=True)
    assert torch.autograd.gradcheck(lambda query, key_value: window_attention(query, key_value, 1), pair)


def test_stays_finite_in_bfloat16():
    query, key_value = random((5, 4, 3), dtype=torch.bfloat16, requires_grad=True)
    found = window_attention(query, key_value, 2)
    found.float().square().sum().backward()
    assert found.dtype == torch.bfloat16
    assert all(torch.isfinite(values).all() for values in (found, query.grad, key_value.grad))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide the 8 channels, got 3"),
        ({"heads": 0}, "heads must divide"),
        ({"heads": 1, "window": 1, "magnification": 2}, "must be positive and"),
        ({"heads": 1, "window": 0}, "must be positive and"),
    ],
)
def test_refuses_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        window_attention(*random((2, 2, 2)), **options)


def test_refuses_volumes_that_do_not_fit():
    query, key_value = random((2, 2, 2))
    with pytest.raises(ValueError, match="query and key_value must be"):
        window_attention(query, key_value[:, :1], 1)
    with pytest.raises(ValueError, match="query and key_value must be"):
        window_attention(query, key_value[..., :8], 1)
