"""The session with the engine's own worker, on the sample data of the extension."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

import vtk

from AttentionRegistrationLib.logic import Logic
from AttentionRegistrationLib.session import Session
from AttentionRegistrationLib.session_carry import copy_of
from AttentionRegistrationLib.session_state import GLAND, MRI, TARGETS, TRUS, TRUS_GLAND
from regcore.grid import Grid

from .scenes import add_volume, pump
from .sessions import points, where

SAMPLE = Path(__file__).resolve().parents[2] / "AttentionRegistration" / "Resources" / "SampleData" / "prostate"
MOVED_MM = 4.0  # along R


def read(scene: Any, name: str, outline: bool = False) -> Any:
    image = sitk.ReadImage(str(SAMPLE / f"{name}.nii.gz"))
    grid = Grid.of(image.GetSize(), image.GetSpacing(), image.GetOrigin(), np.reshape(image.GetDirection(), (3, 3)))
    node = add_volume(scene, grid, name, None, sitk.GetArrayFromImage(image))
    if not outline:
        return node
    made = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    made.CopyOrientation(node)
    made.SetAndObserveImageData(node.GetImageData())
    return made


def test_a_session_from_the_first_result_to_the_second(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    logic = Logic()
    session = Session(logic)
    session.bind(scene)
    state = session.state
    assert state is not None
    for role, name in ((MRI, "fixed"), (TRUS, "moving"), (GLAND, "fixed_labels"), (TRUS_GLAND, "moving_labels")):
        state.choose(role, read(scene, name, outline=name.endswith("labels")))
    gland = slicer.util.arrayFromVolume(state.get(GLAND))
    middle = np.argwhere(gland == 1).mean(axis=0)[::-1]
    matrix = vtk.vtkMatrix4x4()
    state.get(GLAND).GetIJKToRASMatrix(matrix)
    place = (slicer.util.arrayFromVTKMatrix(matrix) @ [*middle, 1])[:3]
    state.choose(TARGETS, points(scene, tuple(place)))
    try:
        session.register(attention=True)
        pump(logic, lambda: not session.registering, 120)
        assert not session.sentence
        session.accept(1)
        first = np.array(where(copy_of(state, TARGETS))[0])
        session.watch(True)
        trus = state.get(TRUS)
        right, anterior, superior = trus.GetOrigin()
        trus.SetOrigin(right + MOVED_MM, anterior, superior)
        pump_both(logic, session, lambda: len(state.entries) == 2)
        session.accept(2)
        second = np.array(where(copy_of(state, TARGETS))[0])
    finally:
        logic.close()
    one, two = state.entries
    assert one.spread_mm is not None
    assert one.sre_mm is not None
    assert one.sre_mm < 5
    assert two.sre_mm is None, "the outline is older than the image"
    assert len(state.nodes(1).attention) == 2
    assert one.facts["weights"]
    np.testing.assert_allclose(second - first, [MOVED_MM, 0, 0], atol=1.5)


def pump_both(logic: Logic, session: Session, until: Any) -> None:
    def ready() -> bool:
        session.poll()
        assert not session.failed, session.sentence
        return bool(until())

    pump(logic, ready, 120)
