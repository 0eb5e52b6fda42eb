from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import BendingEnergyLoss, DiffusionLoss
from torch import Tensor

from regcore.losses import bending_energy, diffusion, jacobian_penalty
from regcore.ops.fields import exp, jacobian_determinant
from regcore.ops.sampling import identity_coordinates
from regcore.ops.smoothing import gaussian

from .loss_inputs import displacement, noise

monai_indexes_by_lists = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
each_dimension = pytest.mark.parametrize("dim", [2, 3])


def _positions(dim: int, size: int = 8) -> Tensor:
    return identity_coordinates([size] * dim, torch.zeros((), dtype=torch.float64))


def _affine(dim: int, seed: int = 0) -> Tensor:
    matrix, shift = noise(dim, dim, seed=seed) - 0.5, 10 * noise(dim, seed=seed + 1)
    return torch.einsum("ab,nb...->na...", matrix, _positions(dim)) + shift.view(1, dim, *[1] * dim)


def _quadratic(dim: int) -> Tensor:
    hessians = noise(dim, dim, dim) - 0.5
    x = _positions(dim)
    return torch.einsum("abc,nb...,nc...->na...", hessians, x, x)


@each_dimension
def test_constant_field_costs_nothing(dim: int) -> None:
    field = torch.full((1, dim, *[6] * dim), 3.7)
    assert diffusion(field) == bending_energy(field) == jacobian_penalty(field) == 0


@settings(max_examples=20, deadline=None)
@given(dim=st.sampled_from([2, 3]), seed=st.integers(0, 1000))
def test_affine_fields_do_not_bend(dim: int, seed: int) -> None:
    field = _affine(dim, seed)
    assert bending_energy(field) < 1e-24
    assert diffusion(field) > 1e-4


@each_dimension
def test_diffusion_of_a_linear_field_by_hand(dim: int) -> None:
    field = torch.zeros(1, dim, *[6] * dim, dtype=torch.float64)
    field[:, 0] = 0.5 * _positions(dim, 6)[:, 1]
    assert diffusion(field).item() == pytest.approx(0.25 / dim / dim)


@each_dimension
@monai_indexes_by_lists
def test_diffusion_is_monai_times_the_dimension_on_linear_fields(dim: int) -> None:
    """MONAI sums over axes and takes central differences, which are the forward ones where the slope is constant."""
    field = _affine(dim)
    torch.testing.assert_close(dim * diffusion(field), DiffusionLoss()(field))


@each_dimension
@monai_indexes_by_lists
def test_bending_energy_is_that_of_monai_on_quadratic_fields(dim: int) -> None:
    """MONAI takes wider mixed differences, on inner voxels only; the same where second derivatives are constant."""
    field = _quadratic(dim)
    torch.testing.assert_close(bending_energy(field), BendingEnergyLoss()(field))


@each_dimension
def test_bending_energy_of_a_quadratic_field_is_the_norm_of_its_hessian(dim: int) -> None:
    hessians = noise(dim, dim, dim) - 0.5
    symmetric = hessians + hessians.transpose(1, 2)
    expected = symmetric.square().sum((1, 2)).mean()
    torch.testing.assert_close(bending_energy(_quadratic(dim)), expected)


def test_diffusion_equals_loops() -> None:
    (field,) = displacement(2)
    down = torch.stack([field[:, :, i + 1] - field[:, :, i] for i in range(field.shape[2] - 1)])
    right = torch.stack([field[..., j + 1] - field[..., j] for j in range(field.shape[3] - 1)])
    torch.testing.assert_close(diffusion(field), ((down**2).mean() + (right**2).mean()) / 2)


@each_dimension
def test_spacing_makes_derivatives_those_of_millimetres(dim: int) -> None:
    (field,) = displacement(dim)
    torch.testing.assert_close(diffusion(field, spacing=[2.5] * dim), diffusion(field))
    # 1 voxel of 3 mm along axis 0 for each voxel of 0.5 mm along axis 1: a slope of 6.
    sheared = torch.zeros(1, dim, *[5] * dim, dtype=torch.float64)
    sheared[:, 0] = _positions(dim, 5)[:, 1]
    spacing = [3.0, 0.5, 1.0][:dim]
    assert diffusion(sheared, spacing=spacing).item() == pytest.approx(36 / dim / dim)


@each_dimension
def test_size_does_not_matter(dim: int) -> None:
    small, large = _quadratic(dim)[..., :5], _quadratic(dim)
    torch.testing.assert_close(bending_energy(small), bending_energy(large))
    torch.testing.assert_close(diffusion(_affine(dim)[..., :5]), diffusion(_affine(dim)))


def test_thin_volumes_are_finite() -> None:
    field = noise(1, 3, 1, 2, 6).requires_grad_()
    found = diffusion(field) + bending_energy(field)
    found.backward()
    assert found.isfinite()
    assert field.grad is not None
    assert field.grad.isfinite().all()
    flat = noise(1, 3, 1, 5, 6)
    squares = flat.diff(dim=3).square().mean() + flat.diff(dim=4).square().mean()
    torch.testing.assert_close(diffusion(flat), squares / 3)


@settings(max_examples=10, deadline=None)
@given(dim=st.sampled_from([2, 3]), seed=st.integers(0, 1000), scheme=st.sampled_from(["forward", "central"]))
def test_smooth_small_field_does_not_fold(dim: int, seed: int, scheme: str) -> None:
    velocity = gaussian(2 * noise(1, dim, *[12] * dim, seed=seed) - 1, 2.0)
    assert jacobian_penalty(exp(velocity), scheme=scheme) == 0  # type: ignore[arg-type]


@each_dimension
@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_folded_field_costs_its_negative_determinant(dim: int, scheme: str) -> None:
    field = torch.zeros(1, dim, *[6] * dim, dtype=torch.float64)
    field[:, 0] = -2.5 * _positions(dim, 6)[:, 0]  # determinant 1 - 2.5
    assert jacobian_penalty(field, scheme=scheme).item() == pytest.approx(1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_following_the_gradient_unfolds(scheme: str) -> None:
    field = gaussian(12 * (noise(1, 2, 12, 12) - 0.5), 0.8)
    before = jacobian_penalty(field, scheme=scheme)  # type: ignore[arg-type]
    assert before > 0
    for _ in range(200):
        field.requires_grad_()
        (slope,) = torch.autograd.grad(jacobian_penalty(field, scheme=scheme), field)  # type: ignore[arg-type]
        field = (field - slope).detach()
    assert jacobian_penalty(field, scheme=scheme) < 0.05 * before  # type: ignore[arg-type]


@each_dimension
def test_central_scheme_has_the_determinant_of_the_fields(dim: int) -> None:
    (field,) = displacement(dim)
    expected = (-jacobian_determinant(field)).clamp_min(0).mean()
    assert expected > 0
    torch.testing.assert_close(jacobian_penalty(field, scheme="central"), expected)


@each_dimension
def test_forward_scheme_equals_a_loop(dim: int) -> None:
    (field,) = displacement(dim)
    field = field[:1]
    inner = torch.cartesian_prod(*[torch.arange(n - 1) for n in field.shape[2:]])
    total = 0.0
    for place in inner:
        at = field[(0, slice(None), *place)]
        steps = [field[(0, slice(None), *(place + torch.eye(dim, dtype=torch.int64)[b]))] - at for b in range(dim)]
        total += max(0.0, -float(torch.linalg.det(torch.eye(dim) + torch.stack(steps, dim=1))))
    assert jacobian_penalty(field).item() == pytest.approx(total / len(inner))


def test_a_fold_of_one_voxel_is_seen_by_forward_differences_only() -> None:
    field = torch.zeros(1, 2, 9, 9)
    field[:, 0, 4, 4] = 1.8
    assert jacobian_penalty(field) > 0
    assert jacobian_penalty(field, scheme="central") == 0


def test_refuses_what_is_not_a_field() -> None:
    for penalty in (diffusion, bending_energy, jacobian_penalty):
        with pytest.raises(ValueError, match="one component per axis"):
            penalty(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="spacing: expected 2 positive"):
        diffusion(torch.zeros(1, 2, 8, 8), spacing=[1.0, 0.0])
    with pytest.raises(ValueError, match="spacing: expected 2 positive"):
        diffusion(torch.zeros(1, 2, 8, 8), spacing=[1.0])
    with pytest.raises(ValueError, match="forward or central"):
        jacobian_penalty(torch.zeros(1, 2, 8, 8), scheme="backward")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 voxels or more"):
        jacobian_penalty(torch.zeros(1, 3, 1, 8, 8))
