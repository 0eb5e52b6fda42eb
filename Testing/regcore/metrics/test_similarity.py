"""Similarity figures against numpy and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import normalized_mutual_information

from regcore.metrics.similarity import ncc, nmi


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    fixed = torch.rand(12, 14, 10, generator=generator)
    return fixed, (fixed**2 + 0.3 * torch.rand(12, 14, 10, generator=generator)) * 40 + 1000


def test_ncc_is_pearsons_coefficient(pair):
    fixed, warped = pair
    expected = np.corrcoef(fixed.double().flatten(), warped.double().flatten())[0, 1]
    assert ncc(fixed, warped) == pytest.approx(expected, abs=1e-5)


def test_ncc_ignores_scale_and_offset_and_knows_sign(pair):
    fixed, _ = pair
    assert ncc(fixed, 3 * fixed + 7) == pytest.approx(1, abs=1e-6)
    assert ncc(fixed, 5 - fixed) == pytest.approx(-1, abs=1e-6)


def test_ncc_of_a_constant_is_zero(pair):
    assert ncc(pair[0], torch.full_like(pair[0], 4.0)) == 0.0


@pytest.mark.parametrize("bins", [16, 64])
def test_nmi_agrees_with_scikit_image(pair, bins):
    fixed, warped = pair
    expected = normalized_mutual_information(fixed.numpy(), warped.numpy(), bins=bins)
    assert nmi(fixed, warped, bins=bins) == pytest.approx(expected, abs=1e-3)


def test_nmi_does_not_care_how_intensities_map(pair):
    steps = (pair[0] * 16).floor()
    assert nmi(steps, (steps - 7) ** 2 * 16 + steps, bins=64) > 1.9
    assert nmi(steps, steps) == pytest.approx(2)


def test_nmi_of_constants_is_one(pair):
    flat = torch.ones_like(pair[0])
    assert nmi(flat, flat) == 1.0
    assert nmi(pair[0], flat) == pytest.approx(1.0)


@pytest.mark.parametrize("measure", [ncc, nmi])
def test_only_masked_voxels_count(pair, measure):
    fixed, warped = pair
    mask = torch.zeros_like(fixed, dtype=torch.bool)
    mask[3:9] = True
    spoiled = torch.where(mask, warped, torch.tensor(-1e6))
    assert measure(fixed, spoiled, mask) == pytest.approx(measure(fixed[3:9], warped[3:9]), abs=1e-6)


@pytest.mark.parametrize("measure", [ncc, nmi])
def test_bad_arguments_are_refused(pair, measure):
    fixed, warped = pair
    with pytest.raises(ValueError, match="warped"):
        measure(fixed, warped[1:])
    with pytest.raises(ValueError, match="mask"):
        measure(fixed, warped, torch.ones(3))
    with pytest.raises(ValueError, match="at least one voxel"):
        measure(fixed, warped, torch.zeros_like(fixed))


@pytest.mark.parametrize("measure", [ncc, nmi])
def test_nan_is_refused_where_it_counts(pair, measure):
    fixed, warped = pair
    spoiled = fixed.clone()
    spoiled[2, 3, 4] = float("nan")
    with pytest.raises(ValueError, match="fixed: expected finite"):
        measure(spoiled, warped)
    with pytest.raises(ValueError, match="warped: expected finite"):
        measure(warped, spoiled)
    inside = torch.isfinite(spoiled)
    assert measure(spoiled, warped, inside) == measure(fixed, warped, inside)
