"""Fields in mm: the two conversions, composition, flows, inverses and Jacobians, on grids of any orientation."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regcore.field import DisplacementField, VelocityField, from_voxels, to_voxels
from regcore.grid import Grid
from regcore.ops.sampling import sample
from regcore.transform import AffineTransform, DenseTransform

SMOOTH = st.tuples(st.sampled_from(["rotated", "mirrored", "plane_rotated"]), st.integers(0, 10_000))
PROPERTY = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


def test_identity_moves_nothing(awkward_grid: Grid) -> None:
    field = DisplacementField.identity(awkward_grid)
    assert torch.equal(field.data, torch.zeros(awkward_grid.dim, *awkward_grid.shape))
    assert torch.equal(field.jacobian_determinant(), torch.ones(awkward_grid.shape))


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected data of shape \(2, 3, 4\), got \(2, 4, 3\)"):
        DisplacementField(torch.zeros(2, 4, 3), Grid.of((4, 3)))


def test_one_voxel_along_an_array_axis_is_one_step_in_the_world(awkward_grid: Grid) -> None:
    grid = awkward_grid
    for axis in range(grid.dim):
        voxels = torch.zeros(1, grid.dim, *grid.shape)
        voxels[:, axis] = 1.0
        index = np.zeros(grid.dim)
        index[grid.dim - 1 - axis] = 1
        step = grid.to_world(index) - grid.to_world(np.zeros(grid.dim))
        data = from_voxels(voxels, grid).data
        np.testing.assert_allclose(data.flatten(1).numpy(), np.tile(step[:, None], (1, data[0].numel())), atol=1e-5)


def test_conversions_undo_each_other(awkward_grid: Grid, smooth_field) -> None:
    field = smooth_field(awkward_grid, 5.0)
    assert torch.allclose(from_voxels(to_voxels(field), awkward_grid).data, field.data, atol=1e-5)


def test_composition_adds_shifts_in_mm(awkward_grid: Grid) -> None:
    def shifted(amount: float) -> DisplacementField:
        data = torch.full((awkward_grid.dim, *awkward_grid.shape), amount)
        return DisplacementField(data, awkward_grid)

    assert torch.allclose(shifted(1.5).compose(shifted(-4.0)).data, shifted(-2.5).data, atol=1e-5)


def test_composition_applies_this_field_first(grid_pair: tuple[Grid, Grid], smooth_field) -> None:
    own, other = grid_pair
    first, then = smooth_field(own, 3.0, 1), smooth_field(other, 3.0, 2)
    composed = first.compose(then)
    index = tuple(n // 2 for n in own.size)
    start = own.to_world(index)
    expected = DenseTransform(then)(DenseTransform(first)(start))
    got = start + composed.data[(slice(None), *index[::-1])].numpy()
    np.testing.assert_allclose(got, expected, atol=0.1)


def test_resampled_field_says_the_same_at_the_same_point(grid_pair: tuple[Grid, Grid], smooth_field) -> None:
    fixed, moving = grid_pair
    field = smooth_field(moving, 4.0)
    moved = field.resample(fixed)
    index = tuple(n // 2 for n in fixed.size)
    point = fixed.to_world(index)
    here = moved.data[(slice(None), *index[::-1])].numpy()
    np.testing.assert_allclose(here, DenseTransform(field)(point) - point, atol=1e-4)


@PROPERTY
@given(SMOOTH)
def test_inverse_brings_points_back_and_reports_its_true_error(awkward_grids, smooth_field, interior, case) -> None:
    name, seed = case
    grid = awkward_grids[name]
    field = smooth_field(grid, 4.0, seed, taper=True)
    inverse, error = field.invert()
    assert error.shape == torch.Size(grid.shape)
    points = grid.points()
    there = DenseTransform(inverse)(points)
    back = DenseTransform(field)(there)
    measured = torch.as_tensor(np.linalg.norm(back - points.numpy(), axis=-1)).float()
    assert torch.allclose(interior(measured, 2, grid.dim), interior(error, 2, grid.dim), atol=2e-3)
    assert float(error.mean()) <= 0.02


@PROPERTY
@given(SMOOTH)
def test_flow_and_backward_flow_undo_each_other(awkward_grids, smooth_field, case) -> None:
    name, seed = case
    grid = awkward_grids[name]
    velocity = VelocityField(smooth_field(grid, 3.0, seed, taper=True).data, grid)
    forth, back = velocity.exp(), velocity.inverse().exp()
    for around in (forth.compose(back), back.compose(forth)):
        assert float(around.data.norm(dim=0).max()) < 0.1 * max(grid.spacing)
        assert float(around.data.norm(dim=0).mean()) < 0.01 * max(grid.spacing)


@PROPERTY
@given(SMOOTH)
def test_a_flow_never_folds(awkward_grids, smooth_field, case) -> None:
    name, seed = case
    grid = awkward_grids[name]
    velocity = VelocityField(smooth_field(grid, 6.0, seed, taper=True).data, grid)
    assert float(velocity.exp().jacobian_determinant().min()) > 0


def test_inverse_of_a_shift_is_the_opposite_shift(awkward_grid: Grid) -> None:
    shift = torch.tensor([2.5, -1.5, 3.0][: awkward_grid.dim]).reshape(-1, *[1] * awkward_grid.dim)
    field = DisplacementField(shift.expand(-1, *awkward_grid.shape).contiguous(), awkward_grid)
    inverse, error = field.invert()
    assert torch.allclose(inverse.data, -field.data, atol=0.02)
    assert float(error.max()) < 0.02


def test_inverse_is_as_exact_as_asked_along_the_coarse_axis(smooth_field) -> None:
    grid = Grid.of((40, 40, 16), (0.5, 0.5, 4.0))
    field = smooth_field(grid, 6.0, 3, taper=True)
    field.data[:2] = 0.0  # motion along the coarse axis alone, where a voxel is many mm
    _, error = field.invert(iterations=60, tolerance_mm=0.02)
    assert float(error.max()) <= 0.021


def test_inversion_may_be_stopped_from_its_callback(smooth_field, awkward_grids) -> None:
    class StopError(Exception):
        pass

    def stop(_: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        smooth_field(awkward_grids["plane"], 4.0).invert(step=stop)


def test_jacobian_determinant_agrees_with_itk(awkward_grid: Grid, smooth_field, as_itk, interior) -> None:
    field = smooth_field(awkward_grid, 4.0, 5)
    # ITK's filter differentiates along the index axes without turning the vectors into them: it is right only for
    # identity directions, so it is given the vectors in the grid's own axes.
    turned = torch.as_tensor(awkward_grid.axes.T).float() @ field.data.flatten(1)
    upright = Grid.of(awkward_grid.size, awkward_grid.spacing)
    own_axes = DisplacementField(turned.reshape(field.data.shape), upright)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(as_itk(own_axes)))
    got = field.jacobian_determinant()
    difference = (got - torch.as_tensor(expected).float()).abs()
    assert float(got.std()) > 0.01
    assert float(interior(difference, 1, awkward_grid.dim).max()) < 1e-3


def test_jacobian_determinant_of_an_affine_is_its_determinant(awkward_grid: Grid) -> None:
    dim = awkward_grid.dim
    matrix = np.eye(dim) + np.random.default_rng(1).normal(0, 0.15, (dim, dim))
    field = AffineTransform.of(matrix, centre=awkward_grid.centre).displacement_on(awkward_grid)
    expected = torch.full(awkward_grid.shape, float(np.linalg.det(matrix)))
    assert torch.allclose(field.jacobian_determinant(), expected, atol=1e-3)


def test_repr_names_the_grid_and_not_every_number() -> None:
    text = repr(DisplacementField.identity(Grid.of((40, 30))))
    assert "(40, 30)" in text
    assert "tensor" not in text


@pytest.mark.parametrize("spacing", [(0.9, 1.1, 1.7), (3.0, 2.0, 4.0)], ids=["finer", "coarser"])
@pytest.mark.parametrize("name", ["plain", "flipped", "permuted", "rotated", "mirrored", "plane_rotated"])
def test_resampling_to_the_same_axes_is_what_sampling_gives(name, spacing, awkward_grids, smooth_field) -> None:
    field = smooth_field(awkward_grids[name], 3.0)
    own = field.grid
    # Beyond the field on some sides, within it on others.
    size = tuple(int(n * s / t) + 3 for n, s, t in zip(own.size, own.spacing, spacing, strict=False))
    target = Grid.of(size, spacing[: own.dim], np.asarray(own.origin) + 0.3 * own.axes.sum(axis=1), own.axes)
    index = torch.as_tensor(own.to_index(target.points().numpy())).movedim(-1, 0).flip(0)[None].float()
    expected = sample(field.data[None], index, padding="border")[0]
    torch.testing.assert_close(field.resample(target).data, expected, atol=1e-4, rtol=1e-4)
