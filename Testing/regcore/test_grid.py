"""Grids: positions agree with ITK's, and derived grids cover the same space."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.grid import Grid


def test_world_and_index_agree_with_itk(awkward_grid: Grid) -> None:
    grid = awkward_grid
    image = sitk.Image(list(grid.size), sitk.sitkUInt8)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    rng = np.random.default_rng(0)
    for index in rng.uniform(-3, 30, (20, grid.dim)):
        point = image.TransformContinuousIndexToPhysicalPoint(index.tolist())
        np.testing.assert_allclose(grid.to_world(index), point, atol=1e-9)
        np.testing.assert_allclose(grid.to_index(point), index, atol=1e-9)


def test_points_list_each_voxel_in_tensor_order(awkward_grid: Grid) -> None:
    grid = awkward_grid
    points = grid.points()
    assert points.shape == (*grid.shape, grid.dim)
    index = tuple(n // 3 + axis for axis, n in enumerate(grid.size))
    np.testing.assert_allclose(points[index[::-1]], grid.to_world(index), atol=1e-9)
    assert grid.points(torch.zeros(1)).dtype == torch.float32


def test_centre_is_midway_between_opposite_corners(awkward_grid: Grid) -> None:
    corners = awkward_grid.corners()
    np.testing.assert_allclose(corners.mean(axis=0), awkward_grid.centre, atol=1e-9)
    diagonal = np.linalg.norm(corners[-1] - corners[0])
    assert diagonal == pytest.approx(np.linalg.norm(awkward_grid.extent))


def test_resampled_grid_keeps_centre_and_loses_nothing(awkward_grid: Grid) -> None:
    spacing = [0.7 * s + 0.9 for s in awkward_grid.spacing]
    coarse = awkward_grid.resampled(spacing)
    np.testing.assert_allclose(coarse.centre, awkward_grid.centre, atol=1e-9)
    np.testing.assert_allclose(coarse.axes, awkward_grid.axes)
    for new, old, step in zip(coarse.extent, awkward_grid.extent, spacing, strict=True):
        assert old - 1e-6 <= new < old + step


def test_resampling_at_the_same_spacing_changes_nothing(awkward_grid: Grid) -> None:
    assert awkward_grid.resampled(awkward_grid.spacing).same_as(awkward_grid)


def test_same_as_sees_a_shift_a_turn_and_another_size() -> None:
    grid = Grid.of((10, 12, 14), (1, 1, 2))
    assert grid.same_as(Grid.of((10, 12, 14), (1, 1, 2), (1e-5, 0, 0)))
    assert not grid.same_as(Grid.of((10, 12, 14), (1, 1, 2), (0.01, 0, 0)))
    assert not grid.same_as(Grid.of((10, 12, 13), (1, 1, 2)))
    assert not grid.same_as(Grid.of((10, 12, 14), (1, 1, 2), (9, 11, 0), np.diag([-1, -1, 1])))


def test_overlap_is_seen_when_one_volume_lies_inside_the_other() -> None:
    large = Grid.of((100, 100, 100))
    small = Grid.of((4, 4, 4), (0.2, 0.2, 0.2), (50.3, 50.3, 50.3))
    assert large.overlaps(small)
    assert small.overlaps(large)
    assert not large.overlaps(Grid.of((4, 4, 4), origin=(200, 0, 0)))


@pytest.mark.parametrize(
    ("size", "spacing", "origin", "direction", "complaint"),
    [
        ((4,), (1,), (0,), (1,), "dimensions"),
        ((4, 4, 4, 4), None, None, None, "dimensions"),
        ((4, 0), None, None, None, "at least one voxel"),
        ((4, 4), (1, -1), None, None, "spacing must be positive"),
        ((4, 4), (1, float("nan")), None, None, "spacing must be positive"),
        ((4, 4), None, (float("inf"), 0), None, "origin must be finite"),
        ((4, 4), None, None, [[1, 0.2], [0, 1]], "orthonormal"),
        ((4, 4), (1, 1, 1), None, None, "do not fit"),
    ],
)
def test_impossible_grids_are_refused(size, spacing, origin, direction, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        Grid.of(size, spacing, origin, direction)
