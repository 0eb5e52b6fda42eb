"""What a registration leaves in the scene, how it is shown, and that it survives saving and loading."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib.logic import Logic, Outcome, register_volumes
from AttentionRegistrationLib.request import Request
from regcore.grid import Grid

from .fake_worker import displacement
from .scenes import EVERYTHING, add_volume, finish, ras_matrix, world_of


@pytest.fixture
def grid(awkward_grids: dict[str, Grid]) -> Grid:
    return awkward_grids["rotated"]


@pytest.fixture
def pair(scene: Any, grid: Grid, awkward_grids: dict[str, Grid]) -> tuple[Any, Any]:
    fixed, moving = add_volume(scene, grid, "TRUS"), add_volume(scene, awkward_grids["flipped"], "MRI")
    shown = moving.GetDisplayNode()
    shown.SetAutoWindowLevel(False)
    shown.SetWindowLevel(123.0, 77.0)
    shown.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    return fixed, moving


@pytest.fixture
def outcome(logic: Logic, pair: tuple[Any, Any]) -> Outcome:
    return finish(logic, Request(*pair, outputs=EVERYTHING)).done


def hierarchy(scene: Any) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def parts(outcome: Outcome) -> list[Any]:
    return [
        outcome.transform,
        outcome.warped,
        outcome.jacobian,
        outcome.inverse,
        *outcome.attention,
        outcome.table,
        outcome.record,
    ]


def test_everything_lies_in_one_folder_beside_the_fixed_volume(scene: Any, logic: Logic, pair: tuple[Any, Any]) -> None:
    tree = hierarchy(scene)
    patient = tree.CreateFolderItem(tree.GetSceneItemID(), "patient")
    tree.CreateItem(patient, pair[0])
    outcome = finish(logic, Request(*pair, outputs=EVERYTHING)).done
    assert tree.GetItemParent(outcome.folder) == patient
    assert tree.GetItemName(outcome.folder) == "MRI to TRUS"
    assert [tree.GetItemParent(tree.GetItemByDataNode(node)) for node in parts(outcome)] == [outcome.folder] * 7
    assert {node.GetName() for node in parts(outcome)} == {
        f"MRI to TRUS {what}"
        for what in ("transform", "warped", "Jacobian", "inverse", "attention stage 1", "figures", "record")
    }
    again = finish(logic, Request(*pair)).done
    assert again.folder != outcome.folder
    assert again.warped.GetName() != outcome.warped.GetName()
    assert (again.inverse, again.attention) == (None, ())


def test_transforms_say_whose_they_are(outcome: Outcome, pair: tuple[Any, Any]) -> None:
    for transform, (fixed, moving) in ((outcome.transform, pair), (outcome.inverse, pair[::-1])):
        assert transform.GetNodeReference(transform.GetFixedNodeReferenceRole()) is fixed
        assert transform.GetNodeReference(transform.GetMovingNodeReferenceRole()) is moving


def test_grids_are_stored_from_the_parent_and_cubic(outcome: Outcome) -> None:
    grid = outcome.transform.GetTransformFromParent()
    assert grid.IsA("vtkOrientedGridTransform")
    assert grid.GetInverseFlag() == 0
    assert grid.GetInterpolationModeAsString() == "Cubic"


def test_the_warped_volume_looks_like_the_moving_one(outcome: Outcome, pair: tuple[Any, Any]) -> None:
    shown, model = outcome.warped.GetDisplayNode(), pair[1].GetDisplayNode()
    assert shown is not model
    assert (shown.GetWindow(), shown.GetLevel()) == (123.0, 77.0)
    assert shown.GetColorNodeID() == model.GetColorNodeID()
    assert not shown.GetAutoWindowLevel()


def test_a_volume_without_display_is_registered_too(logic: Logic, pair: tuple[Any, Any], scene: Any) -> None:
    scene.RemoveNode(pair[1].GetDisplayNode())
    assert finish(logic, Request(*pair)).done.warped.GetDisplayNode() is not None


def test_the_jacobian_is_white_where_nothing_changes(outcome: Outcome, grid: Grid) -> None:
    values = slicer.util.arrayFromVolume(outcome.jacobian)
    np.testing.assert_allclose(values.ravel(), np.linspace(-0.5, 2.5, values.size), atol=1e-6)
    shown = outcome.jacobian.GetDisplayNode()
    assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == (0.0, 2.0)
    table = shown.GetColorNode().GetLookupTable()
    colours = np.array([table.GetTableValue(n)[:3] for n in range(table.GetNumberOfTableValues())])
    red, blue = colours[:, 0], colours[:, 2]
    middle = len(colours) // 2
    assert colours[middle - 1 : middle + 1].min() > 0.95
    assert (np.diff(blue[middle:]) < 0).all()
    assert (np.diff(red[1:middle]) > 0).all()
    assert (blue[1:100] > red[1:100]).all()
    assert blue[0] == 0  # folding stands out


def test_one_colour_table_serves_all_jacobians(logic: Logic, pair: tuple[Any, Any], outcome: Outcome) -> None:
    again = finish(logic, Request(*pair, outputs=EVERYTHING)).done
    assert again.jacobian.GetDisplayNode().GetColorNode() is outcome.jacobian.GetDisplayNode().GetColorNode()


def test_figures_stand_in_a_table(outcome: Outcome) -> None:
    table = outcome.table.GetTable()
    rows = [
        [table.GetValue(row, column).ToString() for column in range(table.GetNumberOfColumns())]
        for row in range(table.GetNumberOfRows())
    ]
    assert [outcome.table.GetColumnName(number) for number in range(3)] == ["figure", "before", "after"]
    assert ["similarity (lncc)", "0.2", "0.9"] in rows
    assert ["Dice (mean)", "0.5", "0.75"] in rows
    assert ["Dice, label 1", "0.5", "0.75"] in rows
    assert ["folding (%)", "", "0"] in rows
    assert json.loads(outcome.record.GetText()) == outcome.report
    assert outcome.notes == ("A note of the worker.",)


def test_the_inputs_stay_as_they_were(logic: Logic, pair: tuple[Any, Any]) -> None:
    before = [(node.GetMTime(), node.GetImageData().GetMTime(), world_of(node).tolist()) for node in pair]
    finish(logic, Request(*pair, outputs=EVERYTHING))
    assert [(node.GetMTime(), node.GetImageData().GetMTime(), world_of(node).tolist()) for node in pair] == before


def test_results_outlive_the_arrays_they_came_from(logic: Logic, pair: tuple[Any, Any], temporary: Path) -> None:
    outcome = finish(logic, Request(*pair, outputs=EVERYTHING)).done
    image = slicer.util.arrayFromVolume(pair[0]).astype(np.float32)
    for _ in range(20):
        np.random.default_rng(0).normal(size=100_000)  # whatever was freed is written over
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(outcome.warped), image)


def test_a_saved_scene_comes_back(
    scene: Any, outcome: Outcome, pair: tuple[Any, Any], tmp_path: Path, grid: Grid
) -> None:
    bundle = tmp_path / "scene.mrb"
    scene.WriteToMRB(str(bundle), None)
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "unpacked")
    (description,) = (tmp_path / "unpacked").rglob("*.mrml")
    loaded = slicer.vtkMRMLScene()
    loaded.SetURL(str(description))
    loaded.SetRootDirectory(str(description.parent))
    assert loaded.Connect()
    transform = loaded.GetFirstNodeByName("MRI to TRUS transform")
    marker = loaded.AddNewNodeByClass("vtkMRMLModelNode")
    marker.SetAndObserveTransformNodeID(transform.GetID())
    point = grid.to_world([10, 20, 8])
    there = point + displacement(point)
    found = [0.0, 0.0, 0.0]
    marker.TransformPointFromWorld([-point[0], -point[1], point[2]], found)
    np.testing.assert_allclose(found, [-there[0], -there[1], there[2]], atol=1e-3)
    assert transform.GetNodeReference(transform.GetFixedNodeReferenceRole()).GetName() == "TRUS"
    for name in ("warped", "Jacobian"):
        volume = loaded.GetFirstNodeByName(f"MRI to TRUS {name}")
        np.testing.assert_allclose(world_of(volume), ras_matrix(grid), atol=1e-4)
    shown = loaded.GetFirstNodeByName("MRI to TRUS Jacobian").GetDisplayNode()
    assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == (0.0, 2.0)
    assert shown.GetColorNode().GetLookupTable().GetNumberOfTableValues() == 256
    assert json.loads(loaded.GetFirstNodeByName("MRI to TRUS record").GetText()) == outcome.report
    assert loaded.GetFirstNodeByName("MRI to TRUS figures").GetNumberOfColumns() == 3


def test_scripts_register_in_one_call(logic: Logic, pair: tuple[Any, Any]) -> None:
    fractions: list[float] = []
    outcome = register_volumes(
        *pair, logic, lambda progress: fractions.append(progress.fraction), inverse=True, preset="any", refine=20
    )
    assert outcome.inverse is not None
    assert outcome.report["asked"]["settings"] == {"device": "auto", "preset": "any", "refine": 20}
    assert fractions
    assert fractions == sorted(fractions)
    with pytest.raises(TypeError, match="colour"):
        register_volumes(*pair, logic, colour="red")
