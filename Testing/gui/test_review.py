"""Looking at results, and undo and redo of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .bench import Bench, QtCore, QTest, add_ball, slicer


@pytest.fixture
def reviewed(panel: Bench) -> Bench:
    add_ball("Fixed")
    add_ball("Moving", 4.0)
    panel.choose_volumes()
    panel.register()
    return panel


def opacities(panel: Bench) -> set[float]:
    return {view.GetForegroundOpacity() for view in panel.views()}


def foreground(panel: Bench) -> Any:
    (identifier,) = {view.GetForegroundVolumeID() for view in panel.views()}
    return panel.scene.GetNodeByID(identifier) if identifier else None


def background(panel: Bench) -> Any:
    (identifier,) = {view.GetBackgroundVolumeID() for view in panel.views()}
    return panel.scene.GetNodeByID(identifier)


def test_without_a_result_nothing_can_be_pressed(panel: Bench) -> None:
    names = ("showBox", "blendBox", "flickerButton", "gridButton", "acceptButton", "undoButton", "redoButton")
    assert not any(getattr(panel.ui, name).isEnabled() for name in names)
    assert panel.ui.verdict.text == "There is no result yet."


def test_the_slider_blends(reviewed: Bench) -> None:
    assert opacities(reviewed) == {0.5}
    reviewed.ui.blendBox.setFocus()
    for _ in range(2):
        QTest.keyClick(reviewed.ui.blendBox, QtCore.Qt.Key.Key_PageUp)
    assert opacities(reviewed) == {1.0}
    QTest.keyClick(reviewed.ui.blendBox, QtCore.Qt.Key.Key_Home)
    assert opacities(reviewed) == {0.0}


def test_flicker_shows_both_in_turn_and_stops(reviewed: Bench) -> None:
    reviewed.click(reviewed.ui.flickerButton)
    reviewed.wait(lambda: opacities(reviewed) == {0.0}, 3)
    reviewed.wait(lambda: opacities(reviewed) == {1.0}, 3)
    reviewed.click(reviewed.ui.flickerButton)
    assert opacities(reviewed) == {0.5}
    QTest.qWait(600)
    assert opacities(reviewed) == {0.5}


def test_the_checkerboard_has_squares_of_both(reviewed: Bench) -> None:
    reviewed.choose(reviewed.ui.showBox, "Checkerboard of fixed and warped")
    board, warped = background(reviewed), reviewed.parameters.result_warped
    assert foreground(reviewed) is None
    assert not board.GetSaveWithScene()
    shown = slicer.util.arrayFromVolume(board)
    fixed = slicer.util.arrayFromVolume(reviewed.parameters.fixed)
    display, other = reviewed.parameters.fixed.GetDisplayNode(), warped.GetDisplayNode()
    scaled = (slicer.util.arrayFromVolume(warped) - other.GetLevel()) / other.GetWindow()
    scaled = scaled * display.GetWindow() + display.GetLevel()
    from_fixed, from_warped = np.isclose(shown, fixed, atol=1e-2), np.isclose(shown, scaled, atol=1e-2)
    assert (from_fixed | from_warped).all()
    differ = ~np.isclose(fixed, scaled, atol=1e-2)
    assert 0.35 < (from_fixed & differ).sum() / differ.sum() < 0.65
    reviewed.choose(reviewed.ui.showBox, "Fixed and warped volume")
    assert background(reviewed) is reviewed.parameters.fixed


def test_before_and_volume_change(reviewed: Bench) -> None:
    reviewed.choose(reviewed.ui.showBox, "Fixed and moving volume, as before")
    assert foreground(reviewed) is reviewed.parameters.moving
    assert reviewed.ui.blendOther.text == "Moving"
    reviewed.choose(reviewed.ui.showBox, "Volume change over fixed")
    assert foreground(reviewed) is reviewed.parameters.result_jacobian


def test_the_deformed_grid_lies_over_the_fixed_volume(reviewed: Bench) -> None:
    reviewed.click(reviewed.ui.gridButton)
    display = reviewed.parameters.result_transform.GetDisplayNode()
    assert display.GetVisibility2D()
    assert display.GetVisualizationMode() == slicer.vtkMRMLTransformDisplayNode.VIS_MODE_GRID
    assert display.GetRegionNode() is reviewed.parameters.fixed
    reviewed.click(reviewed.ui.gridButton)
    assert not display.GetVisibility2D()


def test_accept_is_kept_in_the_scene(reviewed: Bench) -> None:
    assert reviewed.ui.verdict.text == "Not accepted yet."
    reviewed.click(reviewed.ui.acceptButton)
    assert reviewed.ui.verdict.text == "Accepted."
    assert not reviewed.ui.acceptButton.enabled
    assert reviewed.parameters.result_transform.GetAttribute("AttentionRegistration.Verdict") == "accepted"


def state(panel: Bench) -> dict[str, Any]:
    """What undo and redo must bring back."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(panel.scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(panel.parameters.result_transform))
    nodes = [node for node in panel.nodes("vtkMRMLNode") if not node.IsA("vtkMRMLSubjectHierarchyNode")]
    return {
        "nodes": sorted((node.GetClassName(), node.GetName()) for node in nodes),
        "folder": hierarchy.GetItemName(folder),
        "inside": hierarchy.GetNumberOfItemChildren(folder),
        "warped": slicer.util.arrayFromVolume(panel.parameters.result_warped).sum(),
        "window": panel.parameters.result_warped.GetDisplayNode().GetWindow(),
    }


def test_undo_takes_everything_out_and_redo_brings_it_back(reviewed: Bench) -> None:
    reviewed.choose(reviewed.ui.showBox, "Checkerboard of fixed and warped")
    reviewed.click(reviewed.ui.gridButton)
    reviewed.click(reviewed.ui.gridButton)
    reviewed.choose(reviewed.ui.showBox, "Fixed and warped volume")
    reviewed.click(reviewed.ui.undoButton)
    reviewed.click(reviewed.ui.redoButton)
    complete = state(reviewed)
    reviewed.click(reviewed.ui.undoButton)
    assert sorted(reviewed.names()) == ["Fixed", "Moving"]
    assert reviewed.names("vtkMRMLTransformNode") == []
    assert reviewed.names("vtkMRMLTableNode") == []
    assert reviewed.parameters.result_transform is None
    assert foreground(reviewed) is reviewed.parameters.moving
    assert reviewed.ui.verdict.text == "The last result was taken back."
    reviewed.click(reviewed.ui.redoButton)
    assert state(reviewed) == complete
    assert foreground(reviewed) is reviewed.parameters.result_warped


def test_undo_goes_back_to_the_result_before(reviewed: Bench) -> None:
    first = reviewed.parameters.result_transform
    reviewed.register()
    second = reviewed.parameters.result_transform
    reviewed.click(reviewed.ui.undoButton)
    assert reviewed.parameters.result_transform is first
    assert reviewed.ui.undoButton.enabled
    reviewed.click(reviewed.ui.redoButton)
    assert reviewed.parameters.result_transform is second
    reviewed.click(reviewed.ui.undoButton)
    reviewed.register()
    assert not reviewed.ui.redoButton.enabled


def test_what_was_under_the_transform_is_under_it_again(reviewed: Bench) -> None:
    points = reviewed.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    points.SetAndObserveTransformNodeID(reviewed.parameters.result_transform.GetID())
    reviewed.click(reviewed.ui.undoButton)
    assert points.GetParentTransformNode() is None
    reviewed.click(reviewed.ui.redoButton)
    assert points.GetParentTransformNode() is reviewed.parameters.result_transform
