"""A session is saved with the scene and comes back with it; a scene that closes in the middle ends it quietly."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib.session import Session
from AttentionRegistrationLib.session_carry import copy_of
from AttentionRegistrationLib.session_state import MRI, TAG, TARGETS, TRUS

from .sessions import Clock, PretendedLogic, change, prepared, where


def saved_and_loaded(scene: Any, folder: Path) -> Any:
    """Save as .mrb, and open in a scene of its own."""
    bundle = folder / "session.mrb"
    scene.WriteToMRB(str(bundle), None)
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder / "unpacked")
    (description,) = (folder / "unpacked").rglob("*.mrml")
    loaded, markups = slicer.vtkMRMLScene(), slicer.vtkSlicerMarkupsLogic()
    markups.SetMRMLScene(loaded)
    loaded.SetURL(str(description))
    loaded.SetRootDirectory(str(description.parent))
    assert loaded.Connect()
    return loaded


def test_a_saved_session_comes_back_and_goes_on(scene: Any, tmp_path: Path) -> None:
    markups = slicer.vtkSlicerMarkupsLogic()  # knows how points are saved
    markups.SetMRMLScene(scene)
    clock, logic = Clock(), PretendedLogic(scene)
    session = prepared(scene, logic, clock)
    session.watch(True)
    for shift, spread in ((5.0, 0.5), (-4.0, 4.5)):
        session.register()
        logic.finish(shift, spread_mm=spread)
        session.accept(1)
    session.close()
    loaded = saved_and_loaded(scene, tmp_path)
    logic = PretendedLogic(loaded)
    again = Session(logic, clock=clock, now=clock.now)
    again.bind(loaded)
    state = again.state
    assert state is not None
    assert loaded.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1
    assert state.automatic
    assert [(entry.number, entry.spread_mm, entry.verdict) for entry in state.entries] == [
        (1, 0.5, "accepted"),
        (2, 4.5, ""),
    ]
    assert where(copy_of(state, TARGETS)) == [[15.0, 20.0, 30.0]]
    again.poll()
    clock.seconds += 5
    again.poll()
    assert not logic.requests, "loading is no change"
    slicer.mrmlScene = loaded
    again.accept(2)
    np.testing.assert_allclose(where(copy_of(state, TARGETS)), [[6.0, 20.0, 30.0]])
    again.undo()
    assert where(copy_of(state, TARGETS)) == [[15.0, 20.0, 30.0]]
    change(state.get(TRUS))
    clock.seconds += 1
    again.poll()
    assert logic.requests[0].moving is state.get(TRUS)
    logic.finish()
    assert [entry.number for entry in state.entries] == [1, 2, 3]
    again.close()
    loaded.Clear(True)


def test_a_scene_that_closes_in_the_middle(scene: Any) -> None:
    clock, logic = Clock(), PretendedLogic(scene)
    session = prepared(scene, logic, clock)
    trus = session.state.get(TRUS)  # type: ignore[union-attr]
    session.watch(True)
    change(trus)
    session.register()
    session.bind(None)
    scene.Clear(False)
    logic.fail("removed", "The moving volume was removed.")
    assert not session.registering
    clock.seconds += 5
    session.poll()
    change(trus)
    session.bind(scene)
    session.poll()
    assert session.missing() == "no MRI"
    assert session.state is not None
    assert session.state.entries == []
    assert len(logic.requests) == 1


def test_a_result_for_a_scene_that_has_gone_is_not_remembered(scene: Any) -> None:
    clock, logic = Clock(), PretendedLogic(scene)
    session = prepared(scene, logic, clock)
    session.register()
    session.bind(None)
    logic.finish()
    session.bind(scene)
    assert session.state is not None
    assert session.state.entries == []


def test_observers_are_released(scene: Any) -> None:
    session = prepared(scene, PretendedLogic(scene), Clock())
    trus = session.state.get(TRUS)  # type: ignore[union-attr]
    event = slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
    watched = trus.HasObserver(event)
    session.close()
    other = prepared(scene, PretendedLogic(scene), Clock())
    assert watched
    assert not trus.HasObserver(event)
    assert other.state is not None
    assert scene.GetSingletonNode(TAG, "vtkMRMLScriptedModuleNode") is other.state.node
    assert other.state.get(MRI) is not None
