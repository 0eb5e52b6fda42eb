"""Transforms against SimpleITK's, point by point in mm."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, RigidTransform

ANGLES = (25.0, -40.0, 110.0)


def _points(grid: Grid, count: int = 40, margin: float = 0.0) -> np.ndarray:
    limits = np.asarray(grid.size) - 1 - 2 * margin
    return grid.to_world(np.random.default_rng(0).uniform(0, 1, (count, grid.dim)) * limits + margin)


def _sheared(dim: int, centre: np.ndarray) -> AffineTransform:
    rng = np.random.default_rng(2)
    return AffineTransform.of(np.eye(dim) + rng.normal(0, 0.1, (dim, dim)), rng.normal(0, 4, dim), centre)


def test_identity_moves_no_point(awkward_grid: Grid) -> None:
    points = _points(awkward_grid)
    np.testing.assert_array_equal(AffineTransform.identity(awkward_grid.dim)(points), points)


def test_euler_angles_are_itk_angles_in_zyx_order() -> None:
    centre, shift = (3.0, -2.0, 7.0), (1.0, 2.0, 3.0)
    itk = sitk.Euler3DTransform(centre, *np.deg2rad(ANGLES), shift)
    itk.SetComputeZYX(True)
    ours = RigidTransform.from_euler(ANGLES, shift, centre)
    np.testing.assert_allclose(ours.matrix.ravel(), itk.GetMatrix(), atol=1e-12)
    for point in np.random.default_rng(0).normal(0, 50, (10, 3)):
        np.testing.assert_allclose(ours(point), itk.TransformPoint(point.tolist()), atol=1e-9)


def test_each_euler_angle_turns_from_one_axis_to_the_next() -> None:
    for axis, (start, end) in enumerate([(1, 2), (2, 0), (0, 1)]):
        angles = [0.0, 0.0, 0.0]
        angles[axis] = 90.0
        turned = RigidTransform.from_euler(angles, (0, 0, 0))(np.eye(3)[start])
        np.testing.assert_allclose(turned, np.eye(3)[end], atol=1e-12)


def test_plane_angle_is_itks() -> None:
    itk = sitk.Euler2DTransform((5.0, 6.0), np.deg2rad(35), (1.0, -2.0))
    ours = RigidTransform.from_euler([35], (1, -2), (5, 6))
    np.testing.assert_allclose(ours((9.0, 1.0)), itk.TransformPoint((9.0, 1.0)), atol=1e-12)
    assert ours.angles_deg == pytest.approx((35,))


@pytest.mark.parametrize("angles", [ANGLES, (0, 0, 0), (170, 80, -170), (10, 90, 0), (-60, -90, 0)])
def test_angles_are_read_back(angles: tuple[float, float, float]) -> None:
    rigid = RigidTransform.from_euler(angles, (0, 0, 0))
    again = RigidTransform.from_euler(rigid.angles_deg, (0, 0, 0))
    np.testing.assert_allclose(again.matrix, rigid.matrix, atol=1e-9)
    if abs(angles[1]) < 90:
        assert rigid.angles_deg == pytest.approx(angles)


def test_affine_is_itks_affine(awkward_grid: Grid) -> None:
    ours = _sheared(awkward_grid.dim, awkward_grid.centre)
    itk = sitk.AffineTransform(ours.dim)
    itk.SetMatrix(ours.matrix.ravel().tolist())
    itk.SetTranslation(ours.translation.tolist())
    itk.SetCenter(ours.centre.tolist())
    for point in _points(awkward_grid, 10):
        np.testing.assert_allclose(ours(point), itk.TransformPoint(point.tolist()), atol=1e-9)


def test_affine_inverse_and_composition(awkward_grid: Grid) -> None:
    first = _sheared(awkward_grid.dim, awkward_grid.centre)
    then = AffineTransform.of(np.eye(awkward_grid.dim) * 1.2, [1.0] * awkward_grid.dim)
    points = _points(awkward_grid)
    np.testing.assert_allclose(first.compose(first.inverse())(points), points, atol=1e-9)
    np.testing.assert_allclose(first.compose(then)(points), then(first(points)), atol=1e-9)


def test_homogeneous_matrix_keeps_the_map_under_another_centre() -> None:
    affine = _sheared(3, np.array([4.0, 5.0, 6.0]))
    again = AffineTransform.from_homogeneous(affine.homogeneous, (100, 0, 0))
    np.testing.assert_allclose(again((1.0, 2.0, 3.0)), affine((1.0, 2.0, 3.0)), atol=1e-9)
    assert again.centre.tolist() == [100, 0, 0]


def test_dense_map_is_itks_inside_and_outside(awkward_grid: Grid, smooth_field, as_itk) -> None:
    field = smooth_field(awkward_grid, 6.0, 1)
    itk = sitk.DisplacementFieldTransform(as_itk(field))
    points = np.concatenate([_points(awkward_grid), _points(awkward_grid, 40, margin=-6)])
    outside = 0
    for point, ours in zip(points, DenseTransform(field)(points), strict=True):
        index = awkward_grid.to_index(point)
        if np.abs(np.stack([index + 0.5, np.asarray(awkward_grid.size) - 0.5 - index])).min() < 0.01:
            continue  # on the very edge float32 and float64 may disagree
        np.testing.assert_allclose(ours, itk.TransformPoint(point.tolist()), atol=1e-3)
        outside += int(np.allclose(ours, point))
    assert outside > 5


def test_composite_applies_its_first_part_first(awkward_grid: Grid, smooth_field) -> None:
    dense = DenseTransform(smooth_field(awkward_grid, 5.0, 2))
    affine = _sheared(awkward_grid.dim, awkward_grid.centre)
    points = _points(awkward_grid)
    np.testing.assert_allclose(CompositeTransform((dense, affine))(points), affine(dense(points)), atol=1e-9)
    assert np.abs(CompositeTransform((affine, dense))(points) - affine(dense(points))).max() > 0.1


def test_displacement_on_a_grid_is_where_each_voxel_goes(grid_pair: tuple[Grid, Grid], smooth_field) -> None:
    fixed, other = grid_pair
    dense, affine = DenseTransform(smooth_field(other, 5.0, 2)), _sheared(fixed.dim, fixed.centre)
    chains = (affine, dense, CompositeTransform((dense, affine)), CompositeTransform((affine, dense)))
    points = fixed.points().numpy()
    for transform in chains:
        field = transform.displacement_on(fixed)
        difference = points + field.data.movedim(0, -1).numpy() - transform(points)
        # Voxels on the very edge of the dense part's grid may fall on either side of it in float32.
        assert np.mean(np.abs(difference).max(axis=-1) > 1e-3) < 1e-3


def test_dense_displacement_on_its_own_grid_is_the_field_itself(awkward_grid: Grid, smooth_field) -> None:
    field = smooth_field(awkward_grid, 5.0)
    assert DenseTransform(field).displacement_on(awkward_grid) is field


def test_large_grids_are_walked_in_slabs_that_join(smooth_field) -> None:
    grid = Grid.of((96, 96, 96), (2.0, 2.0, 2.0))
    field = AffineTransform.of(np.eye(3), (1, 2, 3)).displacement_on(grid)
    expected = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1).expand(-1, *grid.shape)
    assert torch.allclose(field.data, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: AffineTransform.of([[1, 0], [2, 0]]), "singular"),
        (lambda: AffineTransform.of(np.eye(2), (0, float("nan"))), "finite"),
        (lambda: RigidTransform.of(np.diag([1, 1, -1])), "rotation"),
        (lambda: RigidTransform.of(np.eye(3) * 1.01), "rotation"),
    ],
)
def test_impossible_transforms_are_refused(make, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


def test_a_dense_transform_has_its_fields_dimension() -> None:
    field = DisplacementField.identity(Grid.of((3, 4)))
    assert CompositeTransform((DenseTransform(field), AffineTransform.identity(2))).dim == 2
