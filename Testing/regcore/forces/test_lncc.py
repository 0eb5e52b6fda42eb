import pytest
import torch
import torch.nn.functional as F
from monai.losses import LocalNormalizedCrossCorrelationLoss

from regcore.forces.lncc import LnccForce
from regcore.ops.sampling import warp
from regcore.ops.smoothing import gaussian


def texture(shape, seed):
    noise = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    return gaussian(noise, 1.2) * 2


@pytest.mark.parametrize("shape", [(18, 20, 22), (30, 26)])
def test_value_is_monais(shape):
    fixed, warped = texture(shape, 1), texture(shape, 2)
    dim = len(shape)
    _, similarity = LnccForce(fixed, [5] * dim)(warped)
    monai = LocalNormalizedCrossCorrelationLoss(spatial_dims=dim, kernel_size=5, reduction="none", smooth_dr=1e-9)
    inside = (..., *[slice(3, -3)] * dim)  # windows wholly inside: neither side's idea of the outside matters
    torch.testing.assert_close(similarity[inside], -monai(warped, fixed)[inside], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("shape", [(16, 18, 17), (30, 26)])
def test_force_points_up_the_gradient(shape):
    fixed = F.pad(texture(shape, 1), [6, 6] * len(shape))
    moving = gaussian(F.pad(texture(shape, 1), [6, 6] * len(shape)).roll(1, 2), 0.8)
    displacement = torch.zeros(1, len(shape), *fixed.shape[2:], requires_grad=True)
    monai = LocalNormalizedCrossCorrelationLoss(spatial_dims=len(shape), kernel_size=5, smooth_dr=1e-4)
    # Interpolation exactly at voxels has one-sided slopes: take them on both sides.
    sum(-monai(warp(moving, displacement + offset), fixed) for offset in (-0.01, 0.01)).backward()
    force, _ = LnccForce(fixed, [5] * len(shape))(moving)
    expected, found = gaussian(displacement.grad, 1.0), gaussian(force, 1.0)
    assert F.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.85


def test_slabs_give_what_the_whole_gives():
    fixed, warped = texture((40, 14, 15), 1), texture((40, 14, 15), 2)
    force = LnccForce(fixed, [5, 5, 5])
    whole = force(warped)
    rows = slice(10, 30)
    for part, all_rows in zip(force(warped[:, :, rows], rows), whole, strict=True):
        inner = slice(force.reach, -force.reach)
        torch.testing.assert_close(part[:, :, inner], all_rows[:, :, rows][:, :, inner], atol=1e-4, rtol=1e-3)


def test_flat_images_and_masked_voxels_push_nothing():
    image, flat = texture((12, 12, 12), 1), torch.full((1, 1, 12, 12, 12), 0.5)
    inside = (..., *[slice(3, -3)] * 3)
    assert not LnccForce(flat, [5, 5, 5])(image)[0][inside].any()
    assert not LnccForce(image, [5, 5, 5])(torch.zeros_like(image))[0].any()
    mask = torch.zeros_like(image)
    mask[..., :6] = 1
    masked, _ = LnccForce(image, [5, 5, 5], mask)(texture((12, 12, 12), 3))
    assert masked[..., :6].any()
    assert not masked[..., 6:].any()
