"""Folding and SDlogJ on determinants that are known."""

import numpy as np
import pytest
import torch

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.metrics.regularity import folding_percent, sdlogj
from regcore.ops.fields import jacobian_determinant


def test_zero_and_negative_determinants_are_folding():
    determinant = torch.tensor([[1.0, 0.0], [-2.0, 1e-6]])
    assert folding_percent(determinant) == 50.0
    assert folding_percent(determinant, torch.tensor([[1, 1], [0, 1]])) == pytest.approx(100 / 3)


def test_strictly_only_negative_determinants_are_folding():
    determinant = torch.tensor([[1.0, 0.0], [-2.0, 1e-6]])
    assert folding_percent(determinant, strict=True) == 25.0
    assert folding_percent(determinant, torch.tensor([[1, 1], [0, 1]]), strict=True) == 0.0


def test_sdlogj_is_the_deviation_of_the_logarithm():
    values = torch.tensor([0.5, 1.0, 2.0, 4.0])
    assert sdlogj(values) == pytest.approx(np.log(values.numpy()).std(), abs=1e-6)
    assert sdlogj(torch.tensor([-1.0, 1.0])) == pytest.approx(np.log([1e-9, 1.0]).std(), rel=1e-6)


def test_an_even_stretch_has_no_deviation():
    grid = Grid.of((9, 8, 7), (1.0, 2.0, 1.5))
    stretch = DisplacementField(grid.points().movedim(-1, 0).float() * 0.2, grid)
    determinant = stretch.jacobian_determinant()
    assert determinant.mean().item() == pytest.approx(1.2**3, rel=1e-4)
    assert sdlogj(determinant) == pytest.approx(0, abs=1e-5)
    assert folding_percent(determinant) == 0.0


def _learn2reg_script(displacement: np.ndarray) -> float:
    """What the challenge's script reports: 3 added to the determinant, two voxels left out at each border."""
    rows = np.array([np.gradient(component) for component in displacement])
    determinant = np.linalg.det(np.moveaxis(rows, (0, 1), (-2, -1)) + np.eye(3))[2:-2, 2:-2, 2:-2]
    return float(np.log((determinant + 3).clip(1e-9, 1e9)).std())


def test_the_figure_of_learn2reg_s_script_can_be_had():
    displacement = np.random.default_rng(0).normal(0, 0.3, (3, 11, 12, 10))
    determinant = jacobian_determinant(torch.from_numpy(displacement)[None])[0]
    inner = determinant[2:-2, 2:-2, 2:-2]
    assert sdlogj(inner, offset=3) == pytest.approx(_learn2reg_script(displacement), rel=1e-5)
    assert sdlogj(inner) > 2 * sdlogj(inner, offset=3)


def test_a_mirrored_part_folds():
    grid = Grid.of((10, 6))
    x = grid.points()[..., 0]
    data = torch.stack([torch.where(x > 4.5, -2 * (x - 4.5), 0.0), torch.zeros_like(x)]).float()
    assert 30 <= folding_percent(DisplacementField(data, grid).jacobian_determinant()) <= 60


@pytest.mark.parametrize("measure", [folding_percent, sdlogj])
def test_bad_masks_are_refused(measure):
    with pytest.raises(ValueError, match="mask"):
        measure(torch.ones(3, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="at least one voxel"):
        measure(torch.ones(3, 3), torch.zeros(3, 3))


@pytest.mark.parametrize("measure", [folding_percent, sdlogj])
def test_nan_is_refused_where_it_counts(measure):
    determinant = torch.ones(3, 3)
    determinant[1, 2] = float("nan")
    with pytest.raises(ValueError, match="determinant: expected finite"):
        measure(determinant)
    assert measure(determinant, determinant == 1) == 0
