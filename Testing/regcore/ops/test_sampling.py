"""Sampling at voxel coordinates against scipy-like arithmetic done by hand and numpy indexing."""

from __future__ import annotations

import pytest
import torch

from regcore.ops.sampling import affine_coordinates, identity_coordinates, sample, warp

SHAPES = [(5, 7), (4, 5, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_own_coordinates_return_the_data(shape: tuple[int, ...], mode: str) -> None:
    data = torch.rand(2, 3, *shape)
    assert torch.allclose(sample(data, identity_coordinates(shape, data).expand(2, -1, *shape), mode), data, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_component_moves_along_its_own_axis(shape: tuple[int, ...]) -> None:
    data = torch.rand(1, 1, *shape)
    for axis in range(len(shape)):
        shift = torch.zeros(1, len(shape), *shape)
        shift[:, axis] = 1.0
        n = shape[axis]
        moved = warp(data, shift)
        inner, outer = moved.narrow(axis + 2, 0, n - 1), moved.narrow(axis + 2, n - 1, 1)
        assert torch.allclose(inner, data.narrow(axis + 2, 1, n - 1), atol=1e-5)
        assert float(outer.abs().max()) < 1e-5
        kept = warp(data, shift, padding="border").narrow(axis + 2, n - 1, 1)
        assert torch.allclose(kept, data.narrow(axis + 2, n - 1, 1), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_data_is_interpolated_exactly(shape: tuple[int, ...]) -> None:
    own = identity_coordinates(shape, torch.zeros(1))
    slope = torch.arange(1.0, len(shape) + 1).reshape(1, -1, *[1] * len(shape))
    data = (own * slope).sum(1, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    limits = torch.tensor([n - 1.0 for n in shape]).reshape(1, -1, 1, *[1] * (len(shape) - 1))
    there = torch.rand((1, len(shape), 30, *[1] * (len(shape) - 1)), generator=generator) * limits
    assert torch.allclose(sample(data, there), (there * slope).sum(1, keepdim=True), atol=1e-4)


def test_nearest_takes_the_closest_voxel() -> None:
    data = torch.arange(5.0).reshape(1, 1, 5, 1).expand(1, 1, 5, 3)
    rows = torch.tensor([0.4, 0.6, 2.3, 3.7])
    there = torch.stack([rows, torch.ones(4)])[None, :, :, None]
    assert sample(data, there, "nearest").flatten().tolist() == [0.0, 1.0, 2.0, 4.0]


def test_an_axis_of_one_voxel_is_no_special_case() -> None:
    data = torch.rand(1, 1, 1, 4, 5)
    own = identity_coordinates((1, 4, 5), data)
    assert torch.allclose(sample(data, own), data, atol=1e-6)


def test_gradients_reach_data_and_displacement() -> None:
    data = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    shift = (torch.rand(1, 2, 4, 5, dtype=torch.float64) * 0.3 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, u: warp(d, u, padding="border"), (data, shift))


def test_affine_coordinates_are_the_matrix_times_the_indices_in_array_order():
    matrix = torch.tensor([[0.9, 0.1, -0.2, 3.0], [0.0, 1.1, 0.3, -2.0], [0.2, 0.0, 0.8, 1.0], [0, 0, 0, 1]])
    found = affine_coordinates(matrix.double(), (2, 3, 4), torch.empty(0))
    assert found.shape == (1, 3, 2, 3, 4)
    expected = matrix @ torch.tensor([3.0, 2.0, 1.0, 1.0])  # voxel i 3, j 2, k 1
    assert torch.allclose(found[0, :, 1, 2, 3], expected[:3].flip(0))
