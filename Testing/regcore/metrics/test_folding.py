"""Folding under four definitions, against determinants by numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.metrics.folding import Folding, folding, forward_jacobian_determinant

SHAPES = [(9, 12), (7, 8, 6)]


def _displacement(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.7, (len(shape), *shape))


def _determinants(rows: list[list[np.ndarray]]) -> np.ndarray:
    matrix = np.moveaxis(np.array(rows), (0, 1), (-2, -1))
    return np.linalg.det(matrix + np.eye(len(rows)))


def _central(displacement: np.ndarray) -> np.ndarray:
    return _determinants([list(np.gradient(component)) for component in displacement])


def _forward(displacement: np.ndarray) -> np.ndarray:
    rows = []
    for component in displacement:
        edge = [(0, 1)] * component.ndim
        # The linear continuation of a line repeats its last difference.
        longer = np.pad(component, edge, mode="reflect", reflect_type="odd")
        inside = tuple(slice(n) for n in component.shape)
        rows.append([np.diff(longer, axis=axis)[_open(inside, axis)] for axis in range(component.ndim)])
    return _determinants(rows)


def _open(inside: tuple[slice, ...], axis: int) -> tuple[slice, ...]:
    return tuple(slice(None) if other == axis else part for other, part in enumerate(inside))


@pytest.mark.parametrize("shape", SHAPES, ids=["2D", "3D"])
def test_the_forward_determinant_agrees_with_numpy(shape):
    displacement = _displacement(shape)
    found = forward_jacobian_determinant(torch.from_numpy(displacement)[None])
    np.testing.assert_allclose(found[0].numpy(), _forward(displacement), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=["2D", "3D"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folding_agrees_with_numpy(shape, dtype):
    displacement = _displacement(shape)
    shares = [100 * (determinant <= 0).mean() for determinant in (_central(displacement), _forward(displacement))]
    assert min(shares) > 5
    assert abs(shares[0] - shares[1]) > 5
    # No determinant of a random field is exactly 0.
    expected = (shares[0], shares[0], shares[1], shares[1])
    assert folding(torch.from_numpy(displacement).to(dtype)) == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES, ids=["2D", "3D"])
def test_a_collapse_folds_only_where_zero_counts(shape):
    collapse = torch.zeros(len(shape), *shape)
    collapse[0] = -torch.arange(shape[0]).float().view(-1, *[1] * (len(shape) - 1))
    assert folding(collapse) == Folding(central=100, central_strict=0, forward=100, forward_strict=0)
    assert folding(2 * collapse) == (100, 100, 100, 100)
    assert folding(0 * collapse) == (0, 0, 0, 0)


def test_central_differences_overlook_a_zigzag():
    zigzag = torch.zeros(2, 10, 5)
    zigzag[0, 1::2] = -1.5
    found = folding(zigzag)
    # 5 rows step back and the last repeats the one before it; central ones see it at the two ends only.
    assert found.forward == found.forward_strict == 60
    assert found.central == found.central_strict == 20


def test_only_masked_voxels_count():
    displacement = torch.from_numpy(_displacement((9, 12)))
    mask = torch.zeros(9, 12, dtype=torch.bool)
    mask[2:6, 3:9] = True
    inside = _forward(displacement.numpy())[2:6, 3:9]
    assert folding(displacement, mask).forward == pytest.approx(100 * (inside <= 0).mean())


def test_one_slice_has_no_differences_across():
    plane = torch.from_numpy(_displacement((9, 12)))
    volume = torch.cat([torch.ones(1, 9, 12), plane])[:, None]
    assert folding(volume) == pytest.approx(folding(plane))


def test_the_displacement_is_not_changed():
    displacement = torch.from_numpy(_displacement((7, 8, 6)))
    before = displacement.clone()
    folding(displacement)
    assert torch.equal(displacement, before)


def test_bad_displacements_are_refused():
    with pytest.raises(ValueError, match="displacement: expected"):
        folding(torch.zeros(3, 9, 9))
    with pytest.raises(ValueError, match="displacement: expected"):
        folding(torch.zeros(1, 2, 9, 9))
    with pytest.raises(ValueError, match="displacement: expected finite"):
        folding(torch.full((2, 9, 9), float("nan")))
    with pytest.raises(ValueError, match="mask"):
        folding(torch.zeros(2, 9, 9), torch.ones(8, 9))
