"""Surface points against scikit-image on awkward grids; the surface registration error in mm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.measure import marching_cubes
from skimage.segmentation import find_boundaries

from regcore.grid import Grid
from regcore.image import Image
from regcore.metrics import sre, surface_points
from regcore.ops.rigid import mean_displacement, rigid_matrix
from regcore.transform import AffineTransform, RigidTransform

RADII = (9.0, 7.0, 8.0)


def ellipsoid(grid: Grid, offset_mm: float = 0.0) -> Image:
    scaled = (grid.points() - torch.as_tensor(grid.centre) - offset_mm) / torch.tensor(RADII[: grid.dim])
    return Image((scaled.square().sum(-1) <= 1).to(torch.uint8), grid, "uint8")


def in_world(as_itk, labels: Image, index: np.ndarray) -> np.ndarray:
    itk = as_itk(labels)
    return np.array([itk.TransformContinuousIndexToPhysicalPoint(row[::-1].astype(float).tolist()) for row in index])


def by_rows(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.round(6).T)]


@pytest.mark.parametrize("offset_mm", [0.0, 13.0], ids=["inside", "touching the border"])
def test_points_are_scikit_image_s_inner_boundaries(awkward_grid, as_itk, offset_mm):
    labels = ellipsoid(awkward_grid, offset_mm)
    padded = np.pad(labels.data.numpy(), 1)
    index = np.argwhere(find_boundaries(padded, connectivity=1, mode="inner")) - 1
    assert 20 < len(index) < labels.data.sum()
    expected = in_world(as_itk, labels, index)
    np.testing.assert_allclose(by_rows(surface_points(labels)), by_rows(expected), atol=1e-6)


@pytest.mark.parametrize("name", ["rotated", "mirrored"])
def test_points_lie_within_a_voxel_of_marching_cubes(awkward_grids, as_itk, name):
    labels = ellipsoid(awkward_grids[name])
    vertices = in_world(as_itk, labels, marching_cubes(labels.data.numpy().astype(float), 0.5)[0])
    found = surface_points(labels)
    apart = np.linalg.norm(found[:, None] - vertices[None], axis=2).min(axis=1)
    # A voxel's centre lies half a voxel within the surface that cuts the way to its neighbour.
    assert apart.max() <= max(labels.grid.spacing) / 2 + 1e-6
    np.testing.assert_allclose(found.mean(axis=0), labels.grid.centre, atol=0.6)


def test_another_label_is_another_surface(awkward_grids):
    labels = ellipsoid(awkward_grids["plain"])
    labels.data[0, 0, 0] = 2
    np.testing.assert_allclose(surface_points(labels, 2), [labels.grid.origin])
    assert len(surface_points(labels)) > 100


def test_an_empty_label_is_refused(awkward_grids):
    with pytest.raises(ValueError, match="labels: label 5 is empty; draw the organ, or name another label"):
        surface_points(ellipsoid(awkward_grids["plain"]), 5)


def test_the_error_is_a_mean_distance_in_mm(awkward_grid):
    points = surface_points(ellipsoid(awkward_grid))
    dim = awkward_grid.dim
    angles = (20.0, -30.0, 40.0) if dim == 3 else (40.0,)
    reference = RigidTransform.from_euler(angles, [5.0] * dim, awkward_grid.centre)
    assert sre(points, reference, reference) == 0
    shift = np.array([2.0, -3.0, 6.0])[:dim]
    shifted = reference.compose(AffineTransform.of(np.eye(dim), shift))
    assert sre(points, shifted, reference) == pytest.approx(np.linalg.norm(shift))
    # The order of the two does not matter, where the shift happens neither.
    assert sre(points, reference, shifted) == pytest.approx(np.linalg.norm(shift))
    before = AffineTransform.of(np.eye(dim), shift).compose(reference)
    assert sre(points, before, reference) == pytest.approx(np.linalg.norm(shift))


def test_the_error_is_that_of_the_residual_alone():
    points = surface_points(ellipsoid(Grid.of((30, 28, 26), (1.0, 1.2, 1.1), (-15, -15, 30))))
    reference = RigidTransform.from_euler((10, -60, 35), (40, 2, -7))
    parameters = torch.tensor([[3.0, -2.0, 1.0, 5.0, -4.0, 8.0]], dtype=torch.float64)
    residual = rigid_matrix(parameters)
    start = AffineTransform.from_homogeneous(reference.homogeneous @ residual[0].numpy())
    expected = mean_displacement(residual, torch.as_tensor(points)).item()
    assert sre(points, start, reference) == pytest.approx(expected)
    assert expected > 1


def test_no_points_and_no_numbers_are_refused():
    with pytest.raises(ValueError, match="points: expected at least one"):
        sre(np.zeros((0, 3)), AffineTransform.identity(3), AffineTransform.identity(3))
    with pytest.raises(ValueError, match="points: expected finite"):
        sre(np.full((2, 3), np.inf), AffineTransform.identity(3), AffineTransform.identity(3))
