"""A real MRML scene, from slicer-core, and a worker that only pretends to register."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from AttentionRegistrationLib.logic import Logic

FAKE = Path(__file__).with_name("fake_worker.py")


@pytest.fixture(autouse=True)
def scene() -> Iterator[Any]:
    """An empty scene with Slicer's colours, also as ``slicer.mrmlScene``."""
    import slicer

    made = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(made)
    colours = application.GetColorLogic()
    colours.SetMRMLScene(made)
    colours.AddDefaultColorNodes()
    slicer.mrmlScene = made
    yield made
    slicer.mrmlScene = None
    made.Clear(True)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of the test's own: what is left over can be seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def make_logic() -> Iterator[Callable[..., Logic]]:
    """Function giving a logic with the fake worker in a certain mood."""
    from AttentionRegistrationLib.logic import Limits, Logic
    from AttentionRegistrationLib.worker_client import WorkerClient

    made: list[Logic] = []

    def make(mood: str = "well", **limits: float) -> Logic:
        client = WorkerClient([sys.executable, str(FAKE), mood])
        made.append(Logic(client, Limits(**{"cancel": 1.0, **limits})))
        return made[-1]

    yield make
    for logic in made:
        logic.close()


@pytest.fixture(scope="session")
def logic() -> Iterator[Logic]:
    """A logic with a fake worker that works, the same for all tests; those that end the worker make their own."""
    from AttentionRegistrationLib.logic import Logic
    from AttentionRegistrationLib.worker_client import WorkerClient

    made = Logic(WorkerClient([sys.executable, str(FAKE), "well"]))
    yield made
    made.close()
