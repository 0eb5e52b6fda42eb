"""The panel's choices and its last result are saved with the scene and come back with it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from .bench import Bench, add_ball, slicer


def save_and_load(panel: Bench, folder: Path) -> None:
    """Save the scene as .mrb, close it, and load it again."""
    bundle = folder / "scene.mrb"
    panel.scene.WriteToMRB(str(bundle), None)
    panel.scene.Clear(False)
    panel.look()
    assert panel.parameters.fixed is None
    with zipfile.ZipFile(bundle) as content:
        content.extractall(folder)
    (file,) = folder.glob("*/*.mrml")
    panel.scene.SetURL(str(file))
    assert panel.scene.Connect()
    panel.look()


@pytest.fixture
def filled(panel: Bench, tmp_path: Path) -> Bench:
    for name in ("Fixed", "Moving"):
        add_ball(name)
    panel.choose_volumes()
    for name, kind in (("fixed_mask", "vtkMRMLLabelMapVolumeNode"), ("moving_segments", "vtkMRMLLabelMapVolumeNode")):
        setattr(panel.parameters, name, panel.scene.AddNewNodeByClass(kind, name))
    for name in ("fixed_points", "moving_points"):
        setattr(panel.parameters, name, panel.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name))
    start = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "initial_transform")
    chosen = panel.parameters
    chosen.initial_transform = start
    for name, value in SIMPLE.items():
        setattr(chosen, name, value)
    return panel


SIMPLE: dict[str, Any] = {
    "preset": "brain-mri",
    "initial": "node",
    "model": "none",
    "refine": False,
    "iterations": 30,
    "similarity": "mind",
    "device": "cpu",
    "inverse": False,
    "jacobian": False,
    "attention": True,
}


def test_every_choice_comes_back(filled: Bench, tmp_path: Path) -> None:
    save_and_load(filled, tmp_path)
    chosen, ui = filled.parameters, filled.ui
    assert {name: getattr(chosen, name) for name in SIMPLE} == SIMPLE
    names = ("fixed_mask", "moving_segments", "fixed_points", "moving_points", "initial_transform")
    assert [getattr(chosen, name).GetName() for name in names] == list(names)
    assert ui.fixedBox.currentNode().GetName() == "Fixed"
    assert ui.presetBox.itemData(ui.presetBox.currentIndex) == "brain-mri"
    assert ui.similarityBox.itemData(ui.similarityBox.currentIndex) == "mind"
    assert ui.iterationsBox.value == 30
    assert not ui.refineBox.checked
    assert ui.attentionBox.checked
    assert filled.sentence == "Ready."


def test_the_last_result_can_be_looked_at_again(panel: Bench, tmp_path: Path) -> None:
    add_ball("Fixed")
    add_ball("Moving", 4.0)
    panel.choose_volumes()
    panel.register()
    panel.choose(panel.ui.showBox, "Checkerboard of fixed and warped")
    panel.click(panel.ui.acceptButton)
    figures, volumes = panel.ui.figures.rowCount, sorted(panel.names())
    save_and_load(panel, tmp_path)
    assert sorted(panel.names()) == [name for name in volumes if name != "Checkerboard"]
    assert panel.ui.verdict.text == "Accepted."
    assert panel.ui.figures.rowCount == figures
    panel.choose(panel.ui.showBox, "Fixed and moving volume, as before")
    (shown,) = {view.GetForegroundVolumeID() for view in panel.views()}
    assert panel.scene.GetNodeByID(shown).GetName() == "Moving"
    panel.click(panel.ui.undoButton)
    assert sorted(panel.names()) == ["Fixed", "Moving"]


def test_undo_after_another_scene_was_opened_touches_only_this_one(panel: Bench) -> None:
    add_ball("Fixed")
    add_ball("Moving")
    panel.choose_volumes()
    panel.register()
    panel.scene.Clear(False)
    panel.look()
    assert not panel.ui.undoButton.isEnabled()
    assert panel.ui.verdict.text == "There is no result yet."
    assert isinstance(slicer.mrmlScene, slicer.vtkMRMLScene)
