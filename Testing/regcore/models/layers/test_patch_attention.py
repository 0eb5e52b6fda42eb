import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_resaatt import plain_attention, plain_cell, shake
from torch import Tensor

from regcore.models.layers.patch_attention import PatchOptions, overlap, patch_attention, patch_centres
from regcore.models.layers.residual_attention import ResidualAttention, coordinates

SHAPES = [((7, 5), 5, 3), ((4, 9), 3, 2), ((1, 6), 5, 1), ((4, 5, 3), 3, 3), ((3, 2, 5), 3, 1)]


def brute_force(query: Tensor, key: Tensor, value: Tensor, options: PatchOptions, chosen=None) -> Tensor:
    """Pixel by pixel and patch by patch, by the formula."""
    size, kernel = query.shape[2:], options.kernel
    query, key, value = (F.pad(data, (kernel // 2,) * (2 * len(size))) for data in (query, key, value))
    centres = list(itertools.product(*(range(0, n, options.stride) for n in size)))
    centres = centres if chosen is None else [centres[number] for number in chosen]
    result, count = torch.zeros_like(query), torch.zeros_like(query)

    def about(pixel):
        return (..., *(slice(x, x + kernel) for x in pixel))

    for pixel in itertools.product(*(range(n) for n in size)):
        scores = []
        for centre in centres:
            score = (query[about(pixel)] * key[about(centre)]).flatten(1).sum(1)
            far = max(abs(a - b) for a, b in zip(pixel, centre, strict=True))
            scores.append(score if options.radius is None or far <= options.radius else score * 0 - torch.inf)
        scale = query[about(pixel)][0].numel() ** -0.5 if options.scaled else 1.0
        weights = (torch.stack(scores, 1) * scale).softmax(1)
        for centre, weight in zip(centres, weights.unbind(1), strict=True):
            result[about(pixel)] += weight.view(-1, *[1] * (len(size) + 1)) * value[about(centre)]
        count[about(pixel)] += 1
    inside = (..., *(slice(kernel // 2, kernel // 2 + n) for n in size))
    return (result / count if options.overlap_norm else result)[inside]


def random_maps(size, channels=2, batch=2, seed=3):
    torch.manual_seed(seed)
    return [data.requires_grad_() for data in torch.randn(3, batch, channels, *size, dtype=torch.float64).unbind()]


def assert_same_with_gradients(ours, expected, inputs):
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    incoming = torch.randn_like(ours)
    got, want = (torch.autograd.grad(result, inputs, incoming) for result in (ours, expected))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("scaled", "overlap_norm"), [(True, True), (False, False)], ids=["ours", "literal"])
@pytest.mark.parametrize(("size", "kernel", "stride"), SHAPES, ids=str)
def test_equals_the_convolutions_and_the_loops_with_gradients(size, kernel, stride, scaled, overlap_norm):
    inputs = random_maps(size)
    options = PatchOptions(kernel, stride, scaled, overlap_norm)
    ours = patch_attention(*inputs, options)
    expected = plain_attention(*inputs, kernel, stride, scaled, overlap_norm)
    with torch.no_grad():
        torch.testing.assert_close(expected, brute_force(*inputs, options), rtol=0, atol=1e-12)
    assert_same_with_gradients(ours, expected, inputs)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=2), st.sampled_from([1, 3, 5]), st.integers(1, 4))
def test_equals_the_convolutions_at_any_size(size, kernel, stride):
    inputs = random_maps(size)
    ours = patch_attention(*inputs, PatchOptions(kernel, stride))
    assert_same_with_gradients(ours, plain_attention(*inputs, kernel, stride), inputs)


@pytest.mark.parametrize("radius", [None, 4])
@pytest.mark.parametrize("size", [(11, 6), (5, 4, 6)], ids=str)
def test_in_blocks_it_is_the_same(size, radius):
    inputs = random_maps(size, batch=3)
    for mib in (0.05, 0.01, 1e-6):
        whole = patch_attention(*inputs, PatchOptions(3, radius=radius))
        parts = patch_attention(*inputs, PatchOptions(3, radius=radius, memory_mib=mib))
        assert_same_with_gradients(parts, whole, inputs)


@pytest.mark.parametrize("mib", [2, 16])
def test_blocks_keep_to_the_memory(mib, monkeypatch):
    seen = []

    def attend(query, key, value, **_):
        seen.append(4 * (query.numel() + query.shape[0] * query.shape[2] * key.shape[2]))
        return torch.zeros_like(query)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    maps = torch.zeros(3, 2, 16, 112, 112)
    patch_attention(*maps, PatchOptions(memory_mib=mib))
    assert mib * 2**20 / 20 < max(seen) <= mib * 2**20


@torch.no_grad()
@pytest.mark.parametrize(("size", "kernel"), [((9, 8), 5), ((5, 4, 6), 3)], ids=str)
def test_a_window_sees_the_patches_within_its_radius(size, kernel):
    inputs = random_maps(size)
    windowed = {radius: patch_attention(*inputs, PatchOptions(kernel, 2, radius=radius)) for radius in (2, 3, 9)}
    for radius in (2, 3):
        expected = brute_force(*inputs, PatchOptions(kernel, 2, radius=radius))
        torch.testing.assert_close(windowed[radius], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(windowed[9], patch_attention(*inputs, PatchOptions(kernel, 2)), rtol=0, atol=1e-12)
    assert (windowed[2] - windowed[9]).abs().max() > 0.1


def test_chosen_patches_alone_take_part():
    inputs = random_maps((7, 5))
    chosen = torch.tensor([0, 2, 3, 5])
    ours = patch_attention(*inputs, PatchOptions(), chosen)
    torch.testing.assert_close(ours, brute_force(*inputs, PatchOptions(), chosen.tolist()), rtol=0, atol=1e-12)
    everything = patch_attention(*inputs, PatchOptions(), torch.arange(6))
    assert torch.equal(everything, patch_attention(*inputs, PatchOptions()))


def test_pooled_keys_and_values_are_patches_of_the_smaller_maps():
    inputs = random_maps((8, 6))
    query, key, value = inputs
    expected = plain_attention(query, F.avg_pool2d(key, 2), F.avg_pool2d(value, 2))
    assert_same_with_gradients(patch_attention(*inputs, PatchOptions(pool=2)), expected, inputs)
    wide = patch_attention(*inputs, PatchOptions(pool=2, radius=8))
    torch.testing.assert_close(wide, expected, rtol=0, atol=1e-12)


def test_gradients_by_differences():
    inputs = random_maps((4, 5), batch=1)
    options = PatchOptions(3, 2, radius=3, memory_mib=0.005)
    assert torch.autograd.gradcheck(lambda *maps: patch_attention(*maps, options), inputs)


@pytest.mark.parametrize(
    ("size", "stride", "count"),
    [
        ((112, 112), 3, 1444),
        ((56, 56), 3, 361),
        ((28, 28), 3, 100),
        ((112, 112), 6, 361),
        ((16,) * 3, 3, 216),
        ((32,) * 3, 3, 1331),
        ((64,) * 3, 3, 10648),
    ],
    ids=str,
)
def test_number_of_patches(size, stride, count):
    assert len(patch_centres(size, PatchOptions(stride=stride))) == count


@pytest.mark.parametrize("size", [(9, 7), (2, 6), (5, 1)], ids=str)
def test_overlap_is_what_folded_ones_give(size):
    columns = torch.ones(1, 25, size[0] * size[1])
    assert torch.equal(overlap(size, 5), F.fold(columns, size, 5, padding=2)[0, 0])


def test_overlap_inside_and_in_the_corner():
    assert overlap((112, 112), 5)[[56, 0, 0], [56, 56, 0]].tolist() == [25, 15, 9]
    assert overlap((8, 8, 8), 3)[[4, 0], [4, 0], [4, 0]].tolist() == [27, 8]


def test_without_the_overlap_norm_the_result_grows_and_fades_at_the_border():
    query, key, value = (data.detach().relu() for data in random_maps((28, 28), channels=8, batch=1))

    def sizes(overlap_norm):
        found = patch_attention(query, key, value, PatchOptions(overlap_norm=overlap_norm)).mean(dim=(0, 1))
        inside = found[4:-4, 4:-4].mean()
        return float(inside / value.mean()), float(found[0, 4:-4].mean() / inside)

    factor, border = sizes(True)
    assert 0.9 < factor < 1.1
    assert 0.9 < border < 1.1
    factor, border = sizes(False)
    assert 22 < factor < 27
    assert 0.55 < border < 0.65


@torch.no_grad()
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_cell_equals_the_convolutions(dimensions):
    size, kernel = ((9, 14), 5) if dimensions == 2 else ((5, 4, 7), 3)
    torch.manual_seed(0)
    cell = shake(ResidualAttention(dimensions, 6, 8, "batch", PatchOptions(kernel))).double()
    data = torch.randn(2, 6, *size, dtype=torch.float64)
    ours = cell(data)
    assert (ours - data).abs().max() > 0.1
    torch.testing.assert_close(ours, plain_cell(cell, data), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_gradients_of_the_cell_by_differences(norm):
    torch.manual_seed(1)
    cell = ResidualAttention(2, 1, 2, norm, PatchOptions(3, 2)).double()
    data = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cell, (data,))


def test_coordinates_run_from_minus_one_to_one_along_every_axis():
    assert torch.equal(
        coordinates((3, 2)), torch.tensor([[[[-1.0, -1], [0, 0], [1, 1]], [[-1, 1], [-1, 1], [-1, 1]]]]).double()
    )


def test_half_precision_is_attended_to_in_full():
    maps = torch.randn(3, 1, 2, 6, 6).bfloat16().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = patch_attention(*maps.bfloat16(), PatchOptions())
        (gradient,) = torch.autograd.grad(found.square().sum(), maps)
    full = maps.detach().double().requires_grad_()
    expected = patch_attention(*full, PatchOptions())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    (precise,) = torch.autograd.grad(expected.square().sum(), full)
    # Nothing but the way back into bfloat16 may round.
    torch.testing.assert_close(gradient, precise.bfloat16().float(), rtol=2**-7, atol=1e-4)


def test_refuses_maps_that_do_not_fit():
    with pytest.raises(ValueError, match="query, key and value must have one shape"):
        patch_attention(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 4), PatchOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, "kernel must be odd"),
        ({"stride": 0}, "stride and pool must be at least 1"),
        ({"radius": 5, "pool": 2}, r"radius must be at least stride \* pool = 6"),
        ({"share": 0.4}, r"from 0\.5 to 1"),
        ({"share": 0.6, "radius": 9}, "exclude each other"),
        ({"memory_mib": 0}, "memory_mib must be positive"),
    ],
    ids=str,
)
def test_refuses_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        PatchOptions(**options)
