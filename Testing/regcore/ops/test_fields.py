"""Field algebra on tensors against closed forms: matrix exponentials, determinants, known compositions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from regcore.ops.fields import compose, exp, gradient, jacobian_determinant
from regcore.ops.sampling import identity_coordinates

SHAPES = [(24, 20), (14, 16, 18)]


def _linear(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return ``matrix (x - centre)`` as a field ``(1, D, *shape)``."""
    own = identity_coordinates(shape, matrix)[0].flatten(1)
    middle = (torch.tensor(shape, dtype=matrix.dtype) - 1)[:, None] / 2
    return (matrix @ (own - middle)).reshape(1, len(shape), *shape)


def _matrix(dim: int, scale: float = 0.08, seed: int = 0) -> Tensor:
    return torch.randn((dim, dim), generator=torch.Generator().manual_seed(seed)) * scale


def _inner(values: Tensor, dim: int, margin: int = 4) -> Tensor:
    return values[(..., *[slice(margin, -margin)] * dim)]


@pytest.mark.parametrize("shape", SHAPES)
def test_composition_of_linear_maps_is_their_product_in_that_order(shape: tuple[int, ...]) -> None:
    dim = len(shape)
    first, then = _matrix(dim, seed=1), _matrix(dim, seed=2)
    eye = torch.eye(dim)
    expected = _linear((eye + then) @ (eye + first) - eye, shape)
    composed = compose(_linear(first, shape), _linear(then, shape))
    assert torch.allclose(_inner(composed, dim), _inner(expected, dim), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_exp_of_a_linear_velocity_is_the_matrix_exponential(shape: tuple[int, ...]) -> None:
    dim = len(shape)
    speed = _matrix(dim)
    expected = _linear(torch.matrix_exp(speed) - torch.eye(dim), shape)
    flow = exp(_linear(speed, shape))
    assert float((_inner(flow, dim) - _inner(expected, dim)).abs().max()) < 0.02
    finer = exp(_linear(speed, shape), steps=10)
    assert float((_inner(finer, dim) - _inner(expected, dim)).abs().max()) < 2e-3


def test_exp_of_a_constant_velocity_is_that_shift_everywhere() -> None:
    velocity = torch.tensor([1.7, -2.9]).reshape(1, 2, 1, 1).expand(1, 2, 9, 11).contiguous()
    assert torch.allclose(exp(velocity), velocity, atol=1e-5)


def test_exp_of_nothing_is_nothing() -> None:
    assert torch.equal(exp(torch.zeros(1, 3, 4, 5, 6)), torch.zeros(1, 3, 4, 5, 6))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_and_determinant_of_a_linear_map_are_its_matrix_up_to_the_border(shape: tuple[int, ...]) -> None:
    dim = len(shape)
    matrix = _matrix(dim, 0.3)
    field = _linear(matrix, shape)
    expected = matrix.reshape(1, dim, dim, *[1] * dim).expand(1, dim, dim, *shape)
    assert torch.allclose(gradient(field), expected, atol=1e-4)
    determinant = float(torch.linalg.det(torch.eye(dim) + matrix))
    assert torch.allclose(jacobian_determinant(field), torch.full((1, *shape), determinant), atol=1e-3)


def test_a_mirror_has_a_negative_determinant() -> None:
    field = _linear(torch.diag(torch.tensor([-2.0, 0.0, 0.0])), (6, 5, 4))
    assert torch.allclose(jacobian_determinant(field), torch.full((1, 6, 5, 4), -1.0), atol=1e-4)


def test_a_local_fold_is_found_where_it_is() -> None:
    row = torch.arange(30.0)
    bump = 6 * torch.exp(-((row - 15) ** 2) / 8)
    field = torch.zeros(1, 2, 30, 5)
    field[0, 0] = bump[:, None]
    folded = jacobian_determinant(field)[0, :, 2] <= 0
    slope = (bump[2:] - bump[:-2]) / 2
    assert torch.equal(folded[1:-1], 1 + slope <= 0)
    assert folded.any()


def test_determinant_of_a_flow_is_its_volume_growth() -> None:
    field = exp(_linear(torch.eye(2) * 0.2, (20, 20)))
    middle = float(jacobian_determinant(field)[0, 9, 9])
    assert middle == pytest.approx(math.exp(0.4), rel=5e-3)
