from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import LocalNormalizedCrossCorrelationLoss
from torch import Tensor

from regcore.losses import lncc

from .loss_inputs import noise, smooth


def _by_hand(warped: Tensor, fixed: Tensor, mask: Tensor, half: tuple[int, ...], eps: float = 1e-5) -> float:
    """Loop over windows of one image; only voxels of the mask enter."""
    total = weight = 0.0
    for centre in product(*map(range, fixed.shape)):
        window = tuple(slice(max(0, c - h), c + h + 1) for c, h in zip(centre, half, strict=True))
        m = mask[window]
        if mask[centre] == 0:
            continue
        w, f = ((image[window] - (m * image[window]).sum() / m.sum()) for image in (warped, fixed))
        covariance, *variances = ((m * v).sum() / m.sum() for v in (w * f, w * w, f * f))
        total += float(mask[centre] * covariance**2 / (max(variances[0], eps) * max(variances[1], eps)))
        weight += float(mask[centre])
    return 1 - total / weight


@pytest.mark.parametrize(("size", "window"), [((9, 7), (3, 5)), ((6, 5, 7), (3, 3, 5)), ((4, 20), (9, 9))])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_a_loop_over_windows(size: tuple[int, ...], window: tuple[int, ...], masked: bool) -> None:
    warped, fixed = noise(*size), noise(*size, seed=1)
    mask = (noise(*size, seed=2) * (noise(*size, seed=3) > 0.4)) if masked else torch.ones_like(fixed)
    half = tuple(width // 2 for width in window)
    given_mask = mask[None, None] if masked else None
    found = lncc(warped[None, None], fixed[None, None], mask=given_mask, window=window)
    assert found.item() == pytest.approx(_by_hand(warped, fixed, mask, half), abs=1e-9)


@pytest.mark.parametrize("dim", [2, 3])
def test_equals_monai_away_from_the_border(dim: int) -> None:
    """MONAI counts what lies outside the image as 0 in windows of constant size; in a frame of zeros that is true.

    Its clamp acts on sums of squares, ours on variances: no window here is flat enough for either but the empty ones,
    whose covariance is 0.
    """
    size, inner = [22] * dim, [6] * dim
    images = []
    for seed in (0, 1):
        image = torch.zeros(1, 1, *size, dtype=torch.float64)
        image[(0, 0, *[slice(8, 14)] * dim)] = 0.5 + 0.5 * noise(*inner, seed=seed)
        images.append(image)
    reference = LocalNormalizedCrossCorrelationLoss(dim, kernel_size=9, smooth_nr=0.0, smooth_dr=1e-5)
    # MONAI gives minus the mean.
    torch.testing.assert_close(lncc(*images), 1 + reference(*images), atol=1e-9, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    scale=st.floats(0.3, 50).flatmap(lambda a: st.sampled_from([a, -a])),
    offset=st.floats(-100, 100),
    dim=st.sampled_from([2, 3]),
)
def test_linear_changes_of_intensity_do_not_matter(scale: float, offset: float, dim: int) -> None:
    size = (12,) * dim
    warped, fixed = noise(1, 1, *size), noise(1, 1, *size, seed=1)
    torch.testing.assert_close(lncc(scale * warped + offset, fixed), lncc(warped, fixed))
    torch.testing.assert_close(lncc(fixed, scale * fixed + offset), torch.zeros((), dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(
    base=st.floats(0, 1),
    ripple=st.sampled_from([0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3]),
    seed=st.integers(0, 1000),
)
def test_float32_stays_between_0_and_1_where_windows_are_almost_flat(base: float, ripple: float, seed: int) -> None:
    image = (base + ripple * noise(1, 1, 14, 13, seed=seed)).float()
    image[..., 7:] += 0.5  # one edge, so that the mean is not the base
    warped = image.clone().requires_grad_()
    found = lncc(warped, image)
    assert 0 <= found <= 1
    found.backward()
    assert warped.grad is not None
    assert warped.grad.isfinite().all()


@pytest.mark.parametrize(("scale", "offset"), [(-1.0, 1.0), (1.1, 0.05), (3.0, 0.0)])
def test_rounding_never_finds_more_than_full_correlation(scale: float, offset: float) -> None:
    fixed = 0.02 * noise(1, 1, 20, 20).float()
    fixed[..., 10:] += 0.9
    assert 0 <= lncc(scale * fixed + offset, fixed) < 1e-3


def test_float32_bears_intensities_far_from_0() -> None:
    warped, fixed = (1000 + noise(1, 1, 16, 16, seed=seed).float() for seed in (0, 1))
    torch.testing.assert_close(lncc(warped, fixed).double(), lncc(warped.double(), fixed.double()), atol=1e-5, rtol=0)


def test_flat_windows_do_not_correlate() -> None:
    flat, textured = torch.full((1, 1, 12, 12), 0.4), noise(1, 1, 12, 12).float()
    assert lncc(flat, textured).item() == pytest.approx(1, abs=1e-4)
    assert lncc(flat, flat).item() == pytest.approx(1, abs=1e-4)


def test_better_alignment_is_a_lower_loss() -> None:
    fixed = smooth(1, 1, 30, 30, sigma=1.5)
    losses = [lncc(fixed.roll(shift, dims=3), fixed).item() for shift in range(4)]
    assert losses == sorted(losses)


@pytest.mark.parametrize("window", [4, 0, (3, 4), (3, 3, 3)])
def test_refuses_other_windows(window: int | tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="window: expected an odd number"):
        lncc(noise(1, 1, 9, 9), noise(1, 1, 9, 9), window=window)


def test_refuses_a_variance_of_nothing() -> None:
    with pytest.raises(ValueError, match="eps: expected a positive"):
        lncc(noise(1, 1, 9, 9), noise(1, 1, 9, 9), eps=0.0)
