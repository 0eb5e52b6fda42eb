import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from regcore.ops.rotation_vector import cross_matrix, left_jacobian, rotation_of, vector_of

ANGLES = [0.0, 1e-9, 9e-5, 2e-4, 0.1, 1.0, 3.0, np.pi - 1e-7]


def _vector(angle):
    axis = np.random.default_rng(3).normal(size=3)
    return torch.as_tensor(axis / np.linalg.norm(axis) * angle)


@pytest.mark.parametrize("angle", ANGLES)
def test_rotations_are_scipys(angle):
    vector = _vector(angle)
    expected = Rotation.from_rotvec(vector.numpy()).as_matrix()
    np.testing.assert_allclose(rotation_of(vector), expected, atol=1e-14)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_way_back_and_the_inverse(angle):
    vector = _vector(angle)
    np.testing.assert_allclose(vector_of(rotation_of(vector)), vector, atol=1e-12)
    np.testing.assert_allclose(rotation_of(-vector), rotation_of(vector).T, atol=1e-14)


@pytest.mark.parametrize("axis", np.eye(3))
def test_half_a_turn_has_a_vector(axis):
    rotation = 2 * torch.as_tensor(np.outer(axis, axis)) - torch.eye(3, dtype=torch.float64)
    np.testing.assert_allclose(vector_of(rotation).abs(), np.pi * axis, atol=1e-12)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_jacobian_is_that_of_a_small_turn(angle):
    vector, step = _vector(angle), torch.tensor([1e-6, -2e-6, 3e-6], dtype=torch.float64)
    expected = rotation_of(vector + step)
    np.testing.assert_allclose(rotation_of(left_jacobian(vector) @ step) @ rotation_of(vector), expected, atol=1e-11)


def test_the_cross_matrix_is_the_cross_product():
    a, b = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose((cross_matrix(a) @ b[..., None])[..., 0], np.cross(a, b), atol=1e-6)
