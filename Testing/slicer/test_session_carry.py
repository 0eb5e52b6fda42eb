"""Targets of the MRI in the ultrasound, in mm: what MRML shows against SimpleITK, on awkward grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib import nodes_input
from AttentionRegistrationLib.logic import Logic
from AttentionRegistrationLib.nodes import segment_names, to_vtk
from AttentionRegistrationLib.session import Session
from AttentionRegistrationLib.session_carry import copy_of
from AttentionRegistrationLib.session_request import request_of
from AttentionRegistrationLib.session_state import GLAND, MRI, TARGETS, TRUS, TRUS_GLAND, State
from regcore.grid import Grid

from .fake_worker import LINEAR, displacement
from .scenes import add_volume, pump
from .sessions import where
from .test_input import segmentation_of

MakeLogic = Callable[..., Logic]
PARENT = np.array([[0.0, -1.0, 0.0, 7.0], [1.0, 0.0, 0.0, -3.0], [0.0, 0.0, 1.0, 11.0], [0.0, 0.0, 0.0, 1.0]])
PAIRS = [("rotated", "flipped"), ("permuted", "mirrored"), ("mirrored", "plain")]


def lps(point: list[float]) -> np.ndarray:
    return np.array([-point[0], -point[1], point[2]])


def accepted(
    scene: Any, logic: Logic, grids: tuple[Grid, Grid], parents: tuple[Any, Any], own: np.ndarray | None
) -> State:
    """Register, accept, and return the state; the targets are the MRI's centre and a corner."""
    session = Session(logic)
    session.bind(scene)
    state = session.state
    assert state is not None
    mri, trus = (
        add_volume(scene, grid, name, parent)
        for grid, name, parent in zip(grids, ("MRI", "TRUS"), parents, strict=True)
    )
    state.choose(MRI, mri)
    state.choose(TRUS, trus)
    targets = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "targets")
    for index in ((0, 0, 0), (np.array(grids[0].size) - 1) / 2):
        x, y, z = grids[0].to_world(index)
        targets.AddControlPointWorld([-x, -y, z])
    if own is not None:
        above = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "own")
        above.SetMatrixTransformToParent(to_vtk(own))
        for number, place in enumerate(where(targets)):
            targets.SetNthControlPointPosition(number, (np.linalg.inv(own) @ [*place, 1])[:3])
        targets.SetAndObserveTransformNodeID(above.GetID())
    state.choose(TARGETS, targets)
    session.register()
    pump(logic, lambda: not session.registering)
    assert not session.sentence
    session.accept(1)
    return state


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("parents", [(None, None), (PARENT, None), (None, PARENT)], ids=["plain", "MRI", "TRUS"])
def test_targets_lie_where_simpleitk_says(
    scene: Any, make_logic: MakeLogic, awkward_grids: dict[str, Grid], pair: tuple[str, str], parents: tuple[Any, Any]
) -> None:
    grids = (awkward_grids[pair[0]], awkward_grids[pair[1]])
    state = accepted(scene, make_logic("linear"), grids, parents, None)
    rows = np.array(LINEAR)
    way = sitk.AffineTransform(rows[:3, :3].ravel().tolist(), rows[:3, 3].tolist())
    before = where(state.get(TARGETS))
    for number, place in enumerate(where(copy_of(state, TARGETS))):
        np.testing.assert_allclose(lps(place), way.TransformPoint(lps(before[number])), atol=1e-6)


def test_targets_under_a_transform_of_their_own_do_too(
    scene: Any, make_logic: MakeLogic, awkward_grids: dict[str, Grid]
) -> None:
    grids = awkward_grids["rotated"], awkward_grids["flipped"]
    state = accepted(scene, make_logic("linear"), grids, (None, None), PARENT)
    targets, rows = state.get(TARGETS), np.array(LINEAR)
    assert targets.GetParentTransformNode().GetName() == "own"
    for before, place in zip(where(targets), where(copy_of(state, TARGETS)), strict=True):
        np.testing.assert_allclose(lps(place), (rows @ [*lps(before), 1])[:3], atol=1e-6)


def test_a_curved_way_is_followed_too(scene: Any, make_logic: MakeLogic, awkward_grids: dict[str, Grid]) -> None:
    """The pretended way back is y to y - d(y): what lies at x is shown at the y that it brings there."""
    grids = awkward_grids["rotated"], awkward_grids["flipped"]
    state = accepted(scene, make_logic("well"), grids, (None, None), None)
    before, after = where(state.get(TARGETS))[1], where(copy_of(state, TARGETS))[1]
    there = lps(after)
    np.testing.assert_allclose(there - displacement(there), lps(before), atol=2e-3)
    assert np.linalg.norm(there - lps(before)) > 2


def test_the_gland_goes_the_way_of_the_targets(
    scene: Any, make_logic: MakeLogic, awkward_grids: dict[str, Grid]
) -> None:
    segmentations = slicer.vtkSlicerSegmentationsModuleLogic()  # knows how segments are copied
    segmentations.SetMRMLScene(scene)
    grids = awkward_grids["rotated"], awkward_grids["flipped"]
    logic = make_logic("linear")
    session = Session(logic)
    session.bind(scene)
    state = session.state
    assert state is not None
    state.choose(MRI, add_volume(scene, grids[0], "MRI"))
    state.choose(TRUS, add_volume(scene, grids[1], "TRUS"))
    labels = np.zeros(grids[0].shape, np.uint8)
    labels[4:9, 5:15, 5:20] = 1
    drawn = add_volume(scene, grids[0], "drawn", None, labels)
    outline = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "outline")
    outline.CopyOrientation(drawn)
    outline.SetAndObserveImageData(drawn.GetImageData())
    gland = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "gland")
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(outline, gland)
    state.choose(GLAND, gland)
    session.register()
    pump(logic, lambda: not session.registering)
    session.accept(1)
    copy, rows = copy_of(state, GLAND), np.array(LINEAR)
    assert copy.GetSegmentation().GetNumberOfSegments() == 1
    found = [0.0, 0.0, 0.0]
    copy.TransformPointToWorld([-30.0, 12.0, 100.0], found)
    np.testing.assert_allclose(lps(found), (rows @ [*lps([-30.0, 12.0, 100.0]), 1])[:3], atol=1e-6)
    assert gland.GetParentTransformNode() is None


def test_the_chosen_segment_is_the_gland_whatever_it_is_called(scene: Any, awkward_grids: dict[str, Grid]) -> None:
    grids = awkward_grids["rotated"], awkward_grids["flipped"]
    state = State(scene)
    state.choose(MRI, add_volume(scene, grids[0], "MRI"))
    state.choose(TRUS, add_volume(scene, grids[1], "TRUS"))
    state.choose(GLAND, segmentation_of(scene, grids[0], "in the MRI", ["bladder", "prostate"]))
    state.choose(TRUS_GLAND, segmentation_of(scene, grids[1], "in the ultrasound", ["gland"]))
    state.segment = list(segment_names(state.get(GLAND)))[1]
    inputs = nodes_input.read(request_of(state))
    labels, there = (inputs.volumes[role][0] for role in ("fixed_labels", "moving_labels"))
    assert [np.count_nonzero(labels == value) for value in (1, 2)] == [10, 0]
    assert np.count_nonzero(there == 1) == 10
    state.segment = ""
    request = request_of(state)
    assert request.fixed_labels_segment == next(iter(segment_names(state.get(GLAND))))
