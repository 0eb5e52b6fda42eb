"""What the worker is told of a request's nodes, and which requests are refused."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")
import vtk

from AttentionRegistrationLib import nodes, nodes_input
from AttentionRegistrationLib.logic import Logic
from AttentionRegistrationLib.request import Request
from regcore.grid import Grid

from .scenes import add_volume, finish

T = TypeVar("T")
SHEAR = np.eye(4)
SHEAR[0, 1] = 0.3


@pytest.fixture
def grid(awkward_grids: dict[str, Grid]) -> Grid:
    return awkward_grids["rotated"]


@pytest.fixture
def pair(scene: Any, grid: Grid) -> tuple[Any, Any]:
    return add_volume(scene, grid, "fixed"), add_volume(scene, grid, "moving")


def asked(logic: Logic, request: Request) -> dict[str, Any]:
    """What the worker was told."""
    told: dict[str, Any] = finish(logic, request).done.report["asked"]
    return told


def ended(work: Generator[bool, None, T]) -> T:
    """Run a piece of work to its end."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def segmentation_of(scene: Any, grid: Grid, name: str, names: list[str]) -> Any:
    """A segmentation with one voxel row for each name."""
    labels = np.zeros(grid.shape, np.int16)
    for number in range(len(names)):
        labels[3, 4 + number, 5:15] = number + 1
    volume = add_volume(scene, grid, "drawn", None, labels)
    drawn = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    drawn.CopyOrientation(volume)
    drawn.SetAndObserveImageData(volume.GetImageData())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(drawn, node)
    for identifier, title in zip(list(nodes.segment_names(node)), names, strict=True):
        node.GetSegmentation().GetSegment(identifier).SetName(title)
    scene.RemoveNode(drawn)
    return node


def test_only_what_was_chosen_is_sent(logic: Logic, pair: tuple[Any, Any]) -> None:
    told = asked(logic, Request(*pair))
    assert told["settings"] == {"device": "auto"}
    assert told["outputs"] == {"inverse": False, "jacobian": True, "attention": False, "motion": False}
    assert [told[key] for key in ("fixed_mask", "moving_labels", "fixed_landmarks", "start")] == [None] * 4
    assert told["fixed"]["array"] == "fixed.npy"


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_type_of_voxel_is_sent_as_it_is(logic: Logic, scene: Any, grid: Grid, kind: type) -> None:
    values = np.arange(np.prod(grid.shape)).reshape(grid.shape).astype(kind)
    fixed = add_volume(scene, grid, "fixed", None, values)
    outcome = finish(logic, Request(fixed, add_volume(scene, grid, "moving"))).done
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(outcome.warped), values.astype(np.float32))


def test_segments_of_one_name_have_one_label(scene: Any, grid: Grid, pair: tuple[Any, Any]) -> None:
    fixed = segmentation_of(scene, grid, "a", ["gland", "urethra"])
    moving = segmentation_of(scene, grid, "b", ["lesion", "urethra", "gland"])
    inputs = nodes_input.read(Request(*pair, fixed_labels=fixed, moving_labels=moving))
    assert inputs.labels == {1: "gland", 2: "urethra", 3: "lesion"}
    there = {role: inputs.volumes[role][0] for role in ("fixed_labels", "moving_labels")}
    assert [np.unique(array[array > 0]).tolist() for array in there.values()] == [[1, 2], [1, 2, 3]]
    assert there["moving_labels"][0, 0].max() == 3  # the first row drawn is the lesion
    assert there["fixed_labels"][0, 0].max() == 1


def test_one_segment_may_be_the_mask(scene: Any, grid: Grid, pair: tuple[Any, Any]) -> None:
    drawn = segmentation_of(scene, grid, "drawn", ["gland", "lesion"])
    for segment, voxels in (("", 20), ("lesion", 10), (next(iter(nodes.segment_names(drawn))), 10)):
        inputs = nodes_input.read(Request(*pair, fixed_mask=drawn, fixed_mask_segment=segment))
        assert np.count_nonzero(inputs.volumes["fixed_mask"][0]) == voxels
    with pytest.raises(ValueError, match=r"fixed_mask: 'drawn' has no segment 'bone'; choose one of 'gland', 'lesion'"):
        nodes_input.read(Request(*pair, fixed_mask=drawn, fixed_mask_segment="bone"))


def test_landmarks_and_start_are_sent_in_lps(logic: Logic, scene: Any, pair: tuple[Any, Any]) -> None:
    marks = [scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode") for _ in range(2)]
    for mark in marks:
        mark.AddControlPoint([1.0, 2.0, 3.0])
    start = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 5, 6, 7
    start.SetMatrixTransformToParent(nodes.to_vtk(matrix))
    request = Request(*pair, fixed_landmarks=marks[0], moving_landmarks=marks[1], start=start, init=("landmarks",))
    told = asked(logic, request)
    assert told["fixed_landmarks"] == [[-1.0, -2.0, 3.0]]
    np.testing.assert_allclose(np.array(told["start"])[:3, 3], [5, 6, -7])
    assert told["settings"]["init"] == ["landmarks"]


def test_a_start_that_the_moving_volume_is_under_counts_once(logic: Logic, scene: Any, grid: Grid) -> None:
    fixed, moving = add_volume(scene, grid, "fixed"), add_volume(scene, grid, "moving", np.diag([1.0, 1, 1, 1]))
    above = moving.GetParentTransformNode()
    outcome = finish(logic, Request(fixed, moving, start=above)).done
    assert outcome.report["asked"]["start"] is None
    assert outcome.notes[0] == "The moving volume is already under 'moving parent', which is counted once."


def test_a_volume_that_changes_while_it_is_copied_is_copied_again(pair: tuple[Any, Any]) -> None:
    request = Request(*pair)
    inputs = nodes_input.read(request)
    copying = nodes_input.copied(request, inputs)
    next(copying)
    slicer.util.arrayFromVolume(pair[0])[:] = 7
    slicer.util.arrayFromVolumeModified(pair[0])
    assert (ended(copying)["fixed"] == 7).all()


def test_what_cannot_be_registered_is_refused_in_a_sentence(scene: Any, grid: Grid, pair: tuple[Any, Any]) -> None:
    fixed, moving = pair
    marks = [scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode") for _ in range(2)]
    marks[0].AddControlPoint([1.0, 2.0, 3.0])
    bent = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    colour = slicer.util.addVolumeFromArray(
        np.zeros((4, 4, 4, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode", name="photo"
    )
    curved = add_volume(scene, grid, "curved")
    curved.SetAndObserveTransformNodeID(bent.GetID())
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    none = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "none")
    flat = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "flat")
    flat.SetMatrixTransformToParent(nodes.to_vtk(np.diag([1.0, 1.0, 0.0, 1.0])))
    cases = [
        (Request(None, moving), "Choose a fixed and a moving volume."),
        (Request(fixed, fixed), "moving: it is the fixed volume itself"),
        (Request(empty, moving), "fixed: 'empty' has no voxels"),
        (Request(fixed, colour), "moving: 'photo' has 3 numbers per voxel"),
        (Request(curved, moving), "fixed: 'curved' is under the transform 'bent', which is not linear"),
        (Request(fixed, add_volume(scene, grid, "skewed", SHEAR)), None),
        (Request(fixed, moving, fixed_labels=none), "fixed_labels: the segmentation 'none' has no segment"),
        (Request(fixed, moving, fixed_landmarks=marks[0]), "landmarks: choose them for both volumes"),
        (
            Request(fixed, moving, fixed_landmarks=marks[0], moving_landmarks=marks[1]),
            "there are 1 in the fixed and 0 in the moving volume",
        ),
        (Request(fixed, moving, start=bent), "start: it is the transform 'bent', which is not linear"),
        (Request(fixed, moving, start=flat), "start: 'flat' maps the volume onto a plane"),
    ]
    for request, sentence in cases:
        if sentence is None:  # its place in the world is the grid's again
            nodes_input.read(request)
            continue
        with pytest.raises(ValueError, match=sentence):
            nodes_input.read(request)


def test_axes_that_are_not_at_right_angles_are_refused(scene: Any, grid: Grid, pair: tuple[Any, Any]) -> None:
    own = vtk.vtkMatrix4x4()
    pair[1].GetIJKToRASMatrix(own)
    pair[1].SetIJKToRASMatrix(nodes.to_vtk(SHEAR @ nodes.from_vtk(own)))
    with pytest.raises(ValueError, match="moving: its axes are not at right angles"):
        nodes_input.read(Request(*pair))
