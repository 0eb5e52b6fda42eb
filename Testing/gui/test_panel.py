"""From opening the module to the result with mouse and keyboard; the worker pretends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .bench import Bench, add_ball

OpenPanel = Callable[..., Bench]


@pytest.fixture
def pair(scene: Any) -> tuple[Any, Any]:
    return add_ball("Fixed"), add_ball("Moving", 4.0)


def test_an_empty_scene_says_what_is_missing(panel: Bench) -> None:
    assert not panel.ui.registerButton.enabled
    assert "Choose the fixed volume" in panel.sentence


def test_the_sentence_names_what_is_missing_next(panel: Bench, pair: tuple[Any, Any]) -> None:
    panel.choose(panel.ui.fixedBox, "Fixed")
    assert "Choose the moving volume" in panel.sentence
    panel.choose(panel.ui.movingBox, "Fixed")
    assert "the same volume" in panel.sentence
    assert not panel.ui.registerButton.enabled
    panel.choose(panel.ui.movingBox, "Moving")
    assert panel.sentence == "Ready."
    assert panel.ui.registerButton.enabled


def test_from_the_click_to_the_result(panel: Bench, pair: tuple[Any, Any]) -> None:
    panel.choose_volumes()
    panel.click(panel.ui.registerButton)
    assert panel.ui.registerButton.text == "&Cancel"
    assert panel.ui.progressBar.isVisible()
    panel.wait(lambda: not panel.busy)
    assert panel.ui.registerButton.text == "&Register"
    assert not panel.ui.progressBar.isVisible()
    assert panel.sentence.startswith("Done in ")
    assert not panel.ui.reviewSection.collapsed
    chosen = panel.parameters
    assert chosen.result_transform.GetTransformFromParentAs("vtkOrientedGridTransform", True, False) is not None
    assert {view.GetBackgroundVolumeID() for view in panel.views()} == {pair[0].GetID()}
    assert {view.GetForegroundVolumeID() for view in panel.views()} == {chosen.result_warped.GetID()}
    assert panel.ui.figures.rowCount > 0
    assert pair[1].GetParentTransformNode() is None


def test_the_second_registration_finds_the_worker_warm(panel: Bench, pair: tuple[Any, Any]) -> None:
    panel.choose_volumes()
    panel.register()
    first, process = panel.parameters.result_transform, panel.worker.pid
    panel.register()
    assert panel.worker.pid == process
    assert panel.parameters.result_transform is not first
    assert first.GetScene() is not None


def test_cancel_in_the_middle(open_panel: OpenPanel, pair: tuple[Any, Any], tmp_path: Path) -> None:
    panel = open_panel("slow")
    panel.choose_volumes()
    before = panel.scene.GetNumberOfNodes()
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: panel.ui.progressBar.value > 0)
    panel.click(panel.ui.registerButton)
    assert panel.sentence == "Cancelling …"
    assert not panel.ui.registerButton.enabled
    panel.wait(lambda: not panel.busy, 5)
    assert panel.sentence.startswith("Cancelled")
    assert panel.scene.GetNumberOfNodes() == before
    assert panel.ui.registerButton.enabled
    panel.wait(lambda: not list(tmp_path.glob("AttentionRegistration-*")), 5)


def test_a_killed_worker_is_said_and_does_not_stop_the_next(open_panel: OpenPanel, pair: tuple[Any, Any]) -> None:
    panel = open_panel("slow")
    panel.choose_volumes()
    before = panel.scene.GetNumberOfNodes()
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: panel.ui.progressBar.value > 0)
    killed = panel.worker.pid
    os.kill(killed, signal.SIGKILL)
    panel.wait(lambda: not panel.busy)
    assert "killed" in panel.sentence
    assert panel.ui.sentence.text.startswith("<b>")
    assert panel.scene.GetNumberOfNodes() == before
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: panel.ui.progressBar.value > 0)
    assert panel.worker.pid not in (None, killed)
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: not panel.busy)


def test_a_refusal_is_shown_and_its_details_are_in_the_log(open_panel: OpenPanel, pair: tuple[Any, Any]) -> None:
    panel = open_panel("refuse")
    panel.choose_volumes()
    panel.register()
    assert panel.sentence not in ("", "Ready.")
    assert panel.sentence in panel.ui.log.plainText
    panel.choose(panel.ui.movingBox, "Fixed")
    assert "the same volume" in panel.sentence


def test_input_that_cannot_be_registered_is_said_at_once(panel: Bench, pair: tuple[Any, Any]) -> None:
    grid = panel.scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    pair[1].SetAndObserveTransformNodeID(grid.GetID())
    panel.choose_volumes()
    panel.click(panel.ui.registerButton)
    assert not panel.busy
    assert panel.ui.sentence.text.startswith("<b>")
    assert panel.ui.registerButton.text == "&Register"


def test_a_scene_closed_while_it_runs(open_panel: OpenPanel, pair: tuple[Any, Any]) -> None:
    panel = open_panel("slow")
    panel.choose_volumes()
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: panel.ui.progressBar.value > 0)
    panel.scene.Clear(False)
    panel.wait(lambda: not panel.busy, 5)
    panel.wait(lambda: panel.ui.registerButton.text == "&Register")
    assert "Choose the fixed volume" in panel.sentence
    add_ball("Fixed")
    add_ball("Moving")
    panel.choose_volumes()
    assert panel.sentence == "Ready."


def test_a_node_removed_is_no_longer_chosen(panel: Bench, pair: tuple[Any, Any]) -> None:
    panel.choose_volumes()
    panel.scene.RemoveNode(pair[1])
    assert "Choose the moving volume" in panel.sentence


def test_leaving_and_coming_back_changes_nothing(panel: Bench, pair: tuple[Any, Any]) -> None:
    panel.choose_volumes()
    panel.register()
    panel.click(panel.ui.flickerButton)
    panel.widget.exit()
    assert not panel.ui.flickerButton.checked
    panel.widget.enter()
    assert panel.sentence.startswith("Done in ")
    assert panel.parameters.fixed is pair[0]


def test_the_worker_tells_models_and_devices(panel: Bench) -> None:
    panel.wait(lambda: panel.widget.panel.heard)
    hello = panel.widget.logic.engine.hello()
    titles = [panel.ui.deviceBox.itemText(index) for index in range(panel.ui.deviceBox.count)]
    assert titles[1:] == [device["title"] for device in hello.devices]
    assert panel.ui.deviceNote.text == hello.device_note
