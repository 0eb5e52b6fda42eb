"""What the tests of the session share: a clock that stands still, a logic that ends when told to, chosen nodes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import slicer

from AttentionRegistrationLib.logic import Failure
from AttentionRegistrationLib.request import Request
from AttentionRegistrationLib.results import Outcome, vtk_node
from AttentionRegistrationLib.session import Session, Waits
from AttentionRegistrationLib.session_state import GLAND, MRI, TARGETS, TRUS, State

NAME = "DOE^JANE <1950>"
WAITS = Waits(quiet_s=0.2, longest_s=2.0, kept=4)


class Clock:
    """Time that goes on when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 3, 4, 9, 30, 5)


class PretendedLogic:
    """Takes one registration at a time and ends it when told to; its transforms are plain shifts along R."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.busy = False
        self.refuse = ""
        self.requests: list[Request] = []
        self._listener: Any = None

    def start(self, request: Request, listener: Any) -> None:
        if self.busy:
            raise AssertionError("two registrations at once")
        if self.refuse:
            raise ValueError(self.refuse)
        self.requests.append(request)
        self._listener, self.busy = listener, True

    def poll(self) -> None:
        """Nothing ends by itself."""

    def cancel(self) -> None:
        self.fail("cancelled", "Cancelled.")

    def hello(self) -> None:
        return None

    def fail(self, code: str = "crash", sentence: str = "The engine crashed.") -> None:
        self.busy = False
        self._listener.on_failed(Failure(code, sentence))

    def finish(self, shift_mm: float = 5.0, **figures: Any) -> None:
        """End well: the gland lies ``shift_mm`` along R in the ultrasound."""
        self.busy = False
        self._listener.on_done(self._outcome(shift_mm, figures))

    def _outcome(self, shift_mm: float, figures: dict[str, Any]) -> Outcome:
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        folder = tree.CreateFolderItem(tree.GetSceneItemID(), f"result {len(self.requests)}")
        nodes = {}
        for what, kind in (
            ("transform", "LinearTransform"),
            ("inverse", "LinearTransform"),
            ("warped", "ScalarVolume"),
            ("table", "Table"),
            ("record", "Text"),
            *([("attention", "ScalarVolume")] if self.requests[-1].outputs.attention else []),
        ):
            node = vtk_node(f"vtkMRML{kind}Node", self.scene)
            node.SetName(f"{self.requests[-1].moving.GetName()} {what}")
            self.scene.AddNode(node)
            tree.SetItemParent(tree.GetItemByDataNode(node) or tree.CreateItem(folder, node), folder)
            nodes[what] = node
        for what, side in (("transform", -1.0), ("inverse", 1.0)):
            matrix = np.eye(4)
            matrix[0, 3] = side * shift_mm
            nodes[what].SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        attention = (nodes["attention"],) if "attention" in nodes else ()
        notes = (f"A note on '{self.requests[-1].moving.GetName()}'.",)
        kept = [nodes[what] for what in ("transform", "warped")]
        report = {
            "version": "0.1",
            "settings": {"ensemble": 8, "weights": "secret"},
            "weights": {"a": "12ab"},
        } | figures
        return Outcome(
            *kept, None, nodes["inverse"], attention, nodes["table"], nodes["record"], folder, report, notes, 0.9, "cpu"
        )


def volume(scene: Any, name: str) -> Any:
    """A small volume."""
    return slicer.util.addVolumeFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5), name=name)


def points(scene: Any, *positions: tuple[float, float, float]) -> Any:
    """Targets at these places (RAS)."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"{NAME} targets")
    for position in positions:
        node.AddControlPoint(position)
    return node


def where(markups: Any) -> list[list[float]]:
    """Where points are shown (RAS)."""
    count = markups.GetNumberOfControlPoints()
    return [list(markups.GetNthControlPointPositionWorld(number)) for number in range(count)]


def change(node: Any) -> None:
    """Change a voxel, as a source of images does."""
    slicer.util.arrayFromVolume(node)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(node)


def prepared(scene: Any, logic: Any, clock: Clock) -> Session:
    """A session with MRI, ultrasound, gland and one target."""
    session = Session(logic, clock=clock, now=clock.now, waits=WAITS)
    session.bind(scene)
    state: State = session.state  # type: ignore[assignment]
    state.choose(MRI, volume(scene, f"{NAME} MRI"))
    state.choose(TRUS, volume(scene, f"{NAME} TRUS"))
    gland = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", f"{NAME} gland")
    slicer.util.updateVolumeFromArray(gland, np.ones((3, 4, 5), np.uint8))
    state.choose(GLAND, gland)
    state.choose(TARGETS, points(scene, (10.0, 20.0, 30.0)))
    session.poll()
    return session
