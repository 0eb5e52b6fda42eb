from __future__ import annotations

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from regcore.losses import RESAATT_WEIGHTS, resaatt_loss, resaatt_terms, weighted_sum

from .loss_inputs import noise


def _paper(warped: Tensor, fixed: Tensor, displacement: Tensor) -> float:
    """Equation 1 in sums, with its published weights; interior forward differences."""
    similarity = structural_similarity(
        warped[0, 0].numpy(), fixed[0, 0].numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )[1][5:-5, 5:-5].mean()  # fmt: skip
    distance = 0.5 * (warped - fixed).square().sum()
    roughness = 0.5 * sum(displacement.diff(dim=axis).square().sum() for axis in (2, 3))
    return float(1e6 * (1 - similarity) + 5e2 * distance + 150 * roughness)


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
def test_is_proportional_to_the_paper_at_its_size(scale: float) -> None:
    warped, fixed = noise(1, 1, 112, 112), noise(1, 1, 112, 112, seed=1)
    displacement = scale * noise(1, 2, 112, 112, seed=2)
    assert 1e6 * resaatt_loss(warped, fixed, displacement).item() == pytest.approx(
        _paper(warped, fixed, displacement), rel=1e-9
    )


def test_weights_are_the_published_ones_per_pixel() -> None:
    pixels = 112 * 112
    assert RESAATT_WEIGHTS["mse"] == pytest.approx(0.5 * 5e2 * pixels / 1e6)
    assert RESAATT_WEIGHTS["smoothness"] == pytest.approx(0.5 * 150 * pixels / 1e6)
    assert 1e6 / pixels == pytest.approx(79.72, abs=0.005)


def test_balance_does_not_change_with_the_size() -> None:
    waves = torch.sin(torch.arange(96, dtype=torch.float64) * torch.pi / 8)
    fixed = (waves[:, None] * waves[None])[None, None] / 2 + 0.5
    warped = fixed.roll(2, dims=2)
    displacement = torch.cat([fixed, warped], dim=1)
    small = resaatt_terms(*(image[..., :48, :48] for image in (warped, fixed, displacement)))
    large = resaatt_terms(warped, fixed, displacement)
    for name, term in large.items():
        assert term.item() == pytest.approx(small[name].item(), rel=0.03)


@pytest.mark.parametrize("dim", [2, 3])
def test_smoothness_is_of_the_displacement_and_terms_add_up(dim: int) -> None:
    images = noise(1, 1, *[12] * dim), noise(1, 1, *[12] * dim, seed=1)
    shift = torch.full((1, dim, *[12] * dim), 2.0, dtype=torch.float64)
    terms = resaatt_terms(*images, shift)
    assert terms["smoothness"] == 0
    torch.testing.assert_close(resaatt_loss(*images, shift), weighted_sum(terms, RESAATT_WEIGHTS).total)
    assert resaatt_loss(images[0], images[0], shift).item() == pytest.approx(0, abs=1e-12)
