"""SSIM against scikit-image, UIQI against its definition, window by window."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import structural_similarity

from regcore.metrics.quality import ssim, uiqi


def _pair(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    fixed = torch.rand(shape, generator=generator)
    return fixed, (0.7 * fixed + 0.3 * torch.rand(shape, generator=generator)).square()


def _reference_ssim(fixed: torch.Tensor, warped: torch.Tensor, data_range: float = 1.0) -> float:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": data_range}
    return structural_similarity(fixed.double().numpy(), warped.double().numpy(), **options)


def _index(a: np.ndarray, b: np.ndarray) -> float:
    """The index of one window, with means taken off first, so that a constant has no variance."""
    mean_a, mean_b = (float(v.flat[0]) if np.ptp(v) == 0 else float(v.mean()) for v in (a, b))
    variances = float(((a - mean_a) ** 2).mean() + ((b - mean_b) ** 2).mean())
    covariance = float(((a - mean_a) * (b - mean_b)).mean())
    power = mean_a**2 + mean_b**2
    structure = 1.0 if variances == 0 else 2 * covariance / variances
    return structure * (1.0 if power == 0 else 2 * mean_a * mean_b / power)


def _reference_uiqi(fixed: np.ndarray, warped: np.ndarray, window: int = 8) -> float:
    starts = itertools.product(*[range(n - window + 1) for n in fixed.shape])
    boxes = [tuple(slice(i, i + window) for i in start) for start in starts]
    return float(np.mean([_index(fixed[box].astype(float), warped[box].astype(float)) for box in boxes]))


@pytest.mark.parametrize("shape", [(23, 31), (13, 15, 17)], ids=["2D", "3D"])
def test_ssim_agrees_with_scikit_image(shape):
    fixed, warped = _pair(shape)
    assert ssim(fixed, warped) == pytest.approx(_reference_ssim(fixed, warped), abs=1e-12)
    assert ssim(300 * fixed, 300 * warped, data_range=255 * 2) == pytest.approx(
        _reference_ssim(300 * fixed, 300 * warped, 255 * 2), abs=1e-12
    )
    assert 0.1 < ssim(fixed, warped) < 0.95


@pytest.mark.parametrize("shape", [(19, 26), (9, 11, 10)], ids=["2D", "3D"])
@pytest.mark.parametrize("window", [8, 5, 2])
def test_uiqi_agrees_with_its_definition(shape, window):
    fixed, warped = _pair(shape)
    expected = _reference_uiqi(fixed.numpy(), warped.numpy(), window)
    assert uiqi(fixed, warped, window=window) == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected < 0.95


def test_slices_of_a_volume_are_measured_one_by_one():
    fixed, warped = _pair((3, 14, 12))
    expected = np.mean([_reference_ssim(a, b) for a, b in zip(fixed, warped, strict=True)])
    assert ssim(fixed, warped, slicewise=True) == pytest.approx(expected, abs=1e-12)
    expected = np.mean([_reference_uiqi(a.numpy(), b.numpy()) for a, b in zip(fixed, warped, strict=True)])
    assert uiqi(fixed, warped, slicewise=True) == pytest.approx(expected, abs=1e-12)


def test_cubes_see_what_differs_between_slices():
    fixed, warped = (image + torch.arange(12.0)[:, None, None] for image in _pair((12, 14, 12)))
    for measure in (partial(ssim, data_range=13), uiqi):
        assert measure(fixed, warped) > measure(fixed, warped, slicewise=True) + 0.01


_SMALL = st.tuples(st.integers(5, 8), st.integers(5, 8))
_PAIRS = _SMALL.flatmap(lambda shape: st.tuples(*[arrays(np.float64, shape, elements=st.sampled_from([0, 0.1]))] * 2))


@settings(deadline=None, max_examples=100)
@given(_PAIRS, st.integers(2, 5))
def test_uiqi_of_windows_that_are_partly_constant(pair, window):
    # Thirds and tenths leave rounding behind in a variance that is 0.
    got = uiqi(torch.as_tensor(pair[0]), torch.as_tensor(pair[1]), window=window)
    assert got == pytest.approx(_reference_uiqi(*pair, window), abs=1e-9)


@pytest.mark.parametrize("window", [3, 8])
def test_uiqi_of_constants_is_their_luminance(window):
    flat = torch.ones(9, 10, dtype=torch.float64)
    assert uiqi(0.1 * flat, 0.3 * flat, window=window) == pytest.approx(0.6, abs=1e-12)
    assert uiqi(0.1 * flat, -0.1 * flat, window=window) == pytest.approx(-1, abs=1e-12)
    assert uiqi(0.1 * flat, 0 * flat, window=window) == 0.0
    assert uiqi(0 * flat, 0 * flat, window=window) == 1.0


def test_uiqi_of_a_constant_and_another_image_is_zero():
    fixed, _ = _pair((12, 12))
    assert uiqi(fixed, torch.full_like(fixed, 0.3)) == pytest.approx(0, abs=1e-12)


def test_means_of_zero_leave_the_structure_alone():
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)
    assert uiqi(board, -board) == -1.0
    assert uiqi(board, 3 * board) == pytest.approx(0.6)


def test_a_large_offset_does_not_spoil_the_variances():
    fixed, warped = (1000 + 0.01 * image for image in _pair((16, 16)))
    expected = _reference_uiqi(fixed.numpy(), warped.numpy())
    assert uiqi(fixed, warped) == pytest.approx(expected, abs=1e-5)
    assert expected < 0.95
    expected = _reference_ssim(fixed, warped, 0.01)
    assert ssim(fixed, warped, data_range=0.0101) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("measure", [ssim, uiqi])
def test_equal_images_score_one_and_order_does_not_matter(measure):
    fixed, warped = _pair((14, 15, 13))
    assert measure(fixed, fixed) == pytest.approx(1, abs=1e-12)
    assert measure(fixed, warped) == pytest.approx(measure(warped, fixed), abs=1e-12)


def test_integer_images_are_measured_too():
    fixed, warped = ((255 * image).round().to(torch.uint8) for image in _pair((20, 20)))
    assert uiqi(fixed, warped) == pytest.approx(_reference_uiqi(fixed.numpy(), warped.numpy()), abs=1e-12)
    assert ssim(fixed, warped, data_range=255) == pytest.approx(_reference_ssim(fixed, warped, 255), abs=1e-12)


@pytest.mark.parametrize("measure", [ssim, uiqi])
def test_bad_arguments_are_refused(measure):
    fixed, warped = _pair((20, 20))
    spoiled = warped.clone()
    spoiled[3, 4] = float("nan")
    with pytest.raises(ValueError, match="warped: expected the shape of fixed"):
        measure(fixed, warped[1:])
    with pytest.raises(ValueError, match="warped: expected finite"):
        measure(fixed, spoiled)
    with pytest.raises(ValueError, match="window"):
        measure(fixed, warped, window=21)
    with pytest.raises(ValueError, match="window"):
        measure(fixed, warped, window=0)
    with pytest.raises(ValueError, match="volume to cut into slices"):
        measure(fixed, warped, slicewise=True)
    with pytest.raises(ValueError, match="2D or 3D"):
        measure(fixed[None, None], warped[None, None])


def test_a_range_that_does_not_hold_the_images_is_refused():
    fixed, warped = _pair((20, 20))
    with pytest.raises(ValueError, match=r"data_range: expected at least .* got 1; pass it"):
        ssim(200 * fixed, 200 * warped)
