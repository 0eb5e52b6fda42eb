from __future__ import annotations

import pytest
import torch
from skimage.metrics import structural_similarity

from regcore.losses import ssim
from regcore.ops.ssim import ssim_map

from .loss_inputs import noise, smooth


@pytest.mark.parametrize("size", [(25, 21), (17, 14, 19)])
def test_equals_scikit_image(size: tuple[int, ...]) -> None:
    fixed = smooth(1, 1, *size)
    warped = 0.8 * fixed + 0.2 * noise(1, 1, *size, seed=1)
    _, full = structural_similarity(
        warped[0, 0].numpy(), fixed[0, 0].numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    inside = full[tuple(slice(5, -5) for _ in size)]
    assert ssim(warped, fixed).item() == pytest.approx(1 - inside.mean(), abs=1e-12)


@pytest.mark.parametrize("size", [(9, 12), (7, 6, 8)])
def test_mask_weights_windows_by_their_centres(size: tuple[int, ...]) -> None:
    warped, fixed, mask = (noise(1, 1, *size, seed=seed) for seed in (1, 2, 3))
    inner = mask[(0, 0, *[slice(2, -2)] * len(size))]
    expected = ((1 - ssim_map(warped, fixed, window=5)[0, 0]) * inner).sum() / inner.sum()
    torch.testing.assert_close(ssim(warped, fixed, mask=mask, window=5), expected)


def test_range_scales_with_the_intensities() -> None:
    warped, fixed = noise(1, 1, 13, 14), noise(1, 1, 13, 14, seed=1)
    assert ssim(200 * warped, 200 * fixed, data_range=200.0).item() == pytest.approx(ssim(warped, fixed).item())


def test_refuses_an_image_smaller_than_the_window() -> None:
    with pytest.raises(ValueError, match="narrow it"):
        ssim(noise(1, 1, 10, 20), noise(1, 1, 10, 20))
