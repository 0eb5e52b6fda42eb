"""Where volumes and transforms lie, asked of MRML and of SimpleITK, for every awkward geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")
import vtk

from AttentionRegistrationLib import nodes
from AttentionRegistrationLib.logic import Logic
from AttentionRegistrationLib.nodes_carry import carry
from AttentionRegistrationLib.request import Request
from regcore.grid import Grid

from .fake_worker import LINEAR, displacement
from .scenes import EVERYTHING, add_volume, finish, from_world, ras_matrix, to_world, world_of

SOLID = ["plain", "flipped", "permuted", "rotated", "mirrored"]
TURN = vtk.vtkTransform()
TURN.RotateWXYZ(35, 1, -2, 0.5)
TURN.Translate(12, -30, 7)
PARENT = nodes.from_vtk(TURN.GetMatrix())


@pytest.fixture(params=SOLID)
def grid(request: pytest.FixtureRequest, awkward_grids: dict[str, Grid]) -> Grid:
    return awkward_grids[request.param]


@pytest.fixture(params=[None, PARENT], ids=["free", "parented"])
def parent(request: pytest.FixtureRequest) -> Any:
    return request.param


def field_of(grid: Grid) -> sitk.Image:
    """The fake worker's field as SimpleITK has it."""
    k, j, i = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    vectors = displacement(grid.to_world(np.stack([i, j, k], axis=-1)))
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def probes(grid: Grid, count: int = 40, between: bool = False) -> np.ndarray:
    """Points at voxels of the grid, two from its border, or between voxels (LPS mm)."""
    generator = np.random.default_rng(5)
    margin = [min(2, (n - 1) // 2) for n in grid.size]
    index = np.stack([generator.integers(m, n - m, count) for m, n in zip(margin, grid.size, strict=True)], axis=-1)
    shift = generator.uniform(-0.5, 0.5, index.shape) * (np.asarray(grid.size) > 1) if between else 0
    return grid.to_world(index + shift)


@pytest.fixture
def pair(scene: Any, grid: Grid, parent: Any, awkward_grids: dict[str, Grid]) -> tuple[Any, Any]:
    """A fixed volume of each geometry, and a moving one that is elsewhere."""
    return add_volume(scene, grid, "fixed", parent), add_volume(scene, awkward_grids["rotated"], "moving")


def test_the_worker_sees_where_a_volume_is_in_the_world(pair: tuple[Any, Any], grid: Grid) -> None:
    array, geometry = nodes.read_volume(pair[0], "fixed")
    told = geometry.message("fixed.npy")
    seen = Grid.of(grid.size, told["spacing"], told["origin"], np.reshape(told["direction"], (3, 3)))  # type: ignore[arg-type]
    assert array.shape == grid.shape
    assert seen.same_as(grid, 1e-6)
    np.testing.assert_allclose(seen.axes, grid.axes, atol=1e-9)


def test_a_field_moves_points_in_mrml_as_in_simpleitk(logic: Logic, pair: tuple[Any, Any], grid: Grid) -> None:
    transform = finish(logic, Request(*pair)).done.transform
    itk = sitk.DisplacementFieldTransform(field_of(grid))
    for point in probes(grid):
        there = itk.TransformPoint(point.tolist())
        assert np.linalg.norm(np.subtract(there, point)) > 0.3
        np.testing.assert_allclose(from_world(transform, point), there, atol=1e-3)
    for point in probes(grid, between=True):
        there = np.asarray(itk.TransformPoint(point.tolist()))
        # ITK is linear between voxels, Slicer cubic.
        np.testing.assert_allclose(from_world(transform, point), there, atol=0.02)
        np.testing.assert_allclose(from_world(transform, point), point + displacement(point), atol=0.02)


def test_what_is_under_the_transform_goes_from_moving_to_fixed(logic: Logic, pair: tuple[Any, Any], grid: Grid) -> None:
    transform = finish(logic, Request(*pair)).done.transform
    for point in probes(grid, 10):
        np.testing.assert_allclose(to_world(transform, point + displacement(point)), point, atol=2e-3)


def test_a_linear_result_moves_points_as_in_simpleitk(logic: Logic, pair: tuple[Any, Any], grid: Grid) -> None:
    transform = finish(logic, Request(*pair, model="linear")).done.transform
    itk = sitk.AffineTransform(np.array(LINEAR)[:3, :3].ravel().tolist(), np.array(LINEAR)[:3, 3].tolist())
    assert transform.IsA("vtkMRMLLinearTransformNode")
    for point in probes(grid):
        np.testing.assert_allclose(from_world(transform, point), itk.TransformPoint(point.tolist()), atol=1e-6)


def test_results_lie_where_the_fixed_volume_is(logic: Logic, pair: tuple[Any, Any], grid: Grid) -> None:
    outcome = finish(logic, Request(*pair, outputs=EVERYTHING)).done
    for node in (outcome.warped, outcome.jacobian, *outcome.attention):
        assert node is not None
        assert node.GetParentTransformNode() is None
        np.testing.assert_allclose(world_of(node), ras_matrix(grid), atol=1e-9)
    # The fake worker's warped volume is the fixed one.
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(outcome.warped), slicer.util.arrayFromVolume(pair[0]).astype(np.float32)
    )


def test_the_inverse_leads_back(logic: Logic, pair: tuple[Any, Any], grid: Grid) -> None:
    inverse = finish(logic, Request(*pair, outputs=EVERYTHING)).done.inverse
    for point in probes(grid, 10):
        np.testing.assert_allclose(from_world(inverse, point), point - displacement(point), atol=1e-3)


@pytest.mark.parametrize("suffix", [".h5", ".nrrd"])
def test_a_saved_transform_is_the_same_to_slicer_and_to_simpleitk(
    logic: Logic, pair: tuple[Any, Any], grid: Grid, suffix: str, scene: Any, tmp_path: Path
) -> None:
    transform = finish(logic, Request(*pair)).done.transform
    path = tmp_path / f"transform{suffix}"
    storage = scene.AddNewNodeByClass("vtkMRMLTransformStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(transform)
    again = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    assert storage.ReadData(again)
    if suffix == ".h5":
        itk = sitk.ReadTransform(str(path))
    else:
        itk = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    for point in probes(grid, 10):
        np.testing.assert_allclose(itk.TransformPoint(point.tolist()), point + displacement(point), atol=1e-3)
    for point in probes(grid, 10, between=True):
        np.testing.assert_allclose(from_world(again, point), from_world(transform, point), atol=1e-4)


def test_the_start_is_what_brings_moving_to_fixed(scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(nodes.to_vtk(PARENT))
    rows = np.array(nodes.read_start(node))
    moving = np.array([3.0, -5.0, 20.0, 1.0])
    fixed = np.append(to_world(node, moving[:3]), 1.0)
    np.testing.assert_allclose(rows @ fixed, moving, atol=1e-9)


def test_points_are_read_in_the_world(scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.AddControlPoint([1.0, 2.0, 3.0])
    above = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    above.SetMatrixTransformToParent(nodes.to_vtk(PARENT))
    node.SetAndObserveTransformNodeID(above.GetID())
    r, a, s = (PARENT @ [1, 2, 3, 1])[:3]
    np.testing.assert_allclose(nodes.read_points(node), [[-r, -a, s]], atol=1e-9)


def test_segments_lie_where_they_were_drawn(scene: Any, grid: Grid, parent: Any) -> None:
    inside = np.zeros(grid.shape, np.int16)
    inside[:, 5:9, 11:13] = 1
    inside[:, 2, 3] = 2
    labels = add_volume(scene, grid, "labels", parent, inside)
    drawn = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    drawn.CopyOrientation(labels)
    drawn.SetAndObserveImageData(labels.GetImageData())
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(drawn, segmentation)
    if labels.GetParentTransformNode() is not None:
        segmentation.SetAndObserveTransformNodeID(labels.GetParentTransformNode().GetID())
    names = list(nodes.segment_names(segmentation))
    array, geometry = nodes.read_segments(segmentation, {names[0]: 7, names[1]: 4}, "labels")
    told = geometry.message("labels.npy")
    seen = Grid.of(geometry.size, told["spacing"], told["origin"], np.reshape(told["direction"], (3, 3)))  # type: ignore[arg-type]
    for value, old in ((7, 1), (4, 2)):
        there = seen.to_world(np.argwhere(array == value)[:, ::-1])
        here = grid.to_world(np.argwhere(inside == old)[:, ::-1])
        np.testing.assert_allclose(np.sort(there, axis=0), np.sort(here, axis=0), atol=1e-4)


@pytest.mark.parametrize("copies", [True, False])
def test_markups_are_carried_from_moving_to_fixed(logic: Logic, scene: Any, copies: bool, awkward_grids: Any) -> None:
    grid = awkward_grids["rotated"]
    fixed, moving = add_volume(scene, grid, "fixed"), add_volume(scene, grid, "moving", PARENT)
    transform = finish(logic, Request(fixed, moving)).done.transform
    point = probes(grid, 1)[0]
    there = point + displacement(point)  # in the moving volume, LPS in the world
    own = np.linalg.inv(PARENT) @ [-there[0], -there[1], there[2], 1.0]
    marks = [scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "target") for _ in range(2)]
    for mark in marks:
        mark.AddControlPoint(own[:3].tolist())
        mark.SetAndObserveTransformNodeID(moving.GetParentTransformNode().GetID())
    carried = carry(marks, transform, copies)
    for mark in carried:
        np.testing.assert_allclose(nodes.read_points(mark), [point], atol=2e-3)
    assert moving.GetParentTransformNode().GetParentTransformNode() is None
    if copies:
        np.testing.assert_allclose(nodes.read_points(marks[0]), [there], atol=1e-6)
        assert {node.GetName() for node in carried} == {"target registered"}
    else:
        assert carried == marks
        assert carry(marks, transform, copies) == []


def test_nothing_is_carried_from_under_a_curved_transform(logic: Logic, scene: Any, awkward_grids: Any) -> None:
    grid = awkward_grids["plain"]
    transform = finish(logic, Request(add_volume(scene, grid, "a"), add_volume(scene, grid, "b"))).done.transform
    other = finish(logic, Request(*slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[:2])).done.transform
    free, bent = (scene.AddNewNodeByClass("vtkMRMLModelNode", name) for name in ("free", "bent"))
    bent.SetAndObserveTransformNodeID(other.GetID())
    with pytest.raises(ValueError, match=r"'bent' is under the transform '.*', which is not linear"):
        carry([free, bent], transform, copies=False)
    assert free.GetParentTransformNode() is None
