"""What the tests of the module share: volumes in a scene, a listener that remembers, a loop that polls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from AttentionRegistrationLib.logic import Failure, Logic, Outcome, Progress
from AttentionRegistrationLib.nodes import to_vtk
from AttentionRegistrationLib.request import Outputs, Request
from regcore.grid import Grid

EVERYTHING = Outputs(inverse=True, jacobian=True, attention=True)
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_matrix(grid: Grid) -> np.ndarray:
    """From voxels to RAS mm, worked out without the package's own conversion."""
    return np.asarray(_LPS @ grid.index_to_world)


def add_volume(
    scene: Any, grid: Grid, name: str, parent: np.ndarray | None = None, values: np.ndarray | None = None
) -> Any:
    """A volume whose place in the world is ``grid``, under the linear transform ``parent`` (RAS) where given."""
    own = ras_matrix(grid) if parent is None else np.linalg.inv(parent) @ ras_matrix(grid)
    array = np.random.default_rng(3).normal(100, 20, grid.shape).astype(np.int16) if values is None else values
    node = slicer.util.addVolumeFromArray(array, own, name)
    if parent is not None:
        above = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", f"{name} parent")
        above.SetMatrixTransformToParent(to_vtk(parent))
        node.SetAndObserveTransformNodeID(above.GetID())
    return node


def world_of(volume: Any) -> np.ndarray:
    """From voxels to RAS mm in the world, asked of MRML."""
    own, above = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(own)
    if volume.GetParentTransformNode() is not None:
        volume.GetParentTransformNode().GetMatrixTransformToWorld(above)
    return np.asarray(slicer.util.arrayFromVTKMatrix(above) @ slicer.util.arrayFromVTKMatrix(own))


def from_world(transform: Any, point: np.ndarray) -> np.ndarray:
    """Where MRML says that a fixed point (LPS) comes from, of what is under the transform (LPS)."""
    return moved(under(transform).TransformPointFromWorld, point)


def to_world(transform: Any, point: np.ndarray) -> np.ndarray:
    """Where MRML shows a moving point (LPS) that is under the transform (LPS)."""
    return moved(under(transform).TransformPointToWorld, point)


def under(transform: Any) -> Any:
    """A node under the transform, and nothing else."""
    name = f"under {transform.GetID()}"
    scene = transform.GetScene()
    node = scene.GetFirstNodeByName(name) or scene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def moved(way: Any, point: np.ndarray) -> np.ndarray:
    """Send a point (LPS) a way that is told in RAS."""
    result = [0.0, 0.0, 0.0]
    way([-point[0], -point[1], point[2]], result)
    return np.array([-result[0], -result[1], result[2]])


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.outcome: Outcome | None = None
        self.failure: Failure | None = None
        self.ends = 0

    def on_progress(self, progress: Progress) -> None:
        self.progress.append(progress)

    def on_done(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.ends += 1

    def on_failed(self, failure: Failure) -> None:
        self.failure = failure
        self.ends += 1

    @property
    def done(self) -> Outcome:
        assert self.failure is None, self.failure
        assert self.outcome is not None
        return self.outcome

    @property
    def failed(self) -> Failure:
        assert self.outcome is None
        assert self.failure is not None
        return self.failure


def pump(logic: Logic, until: Callable[[], bool], seconds: float = 30.0) -> None:
    """Poll until something is so."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it never came"
        logic.poll()
        time.sleep(0.002)


def finish(logic: Logic, request: Request, seconds: float = 60.0) -> Heard:
    """Run a registration to its end."""
    heard = Heard()
    logic.start(request, heard)
    pump(logic, lambda: not logic.busy, seconds)
    assert heard.ends == 1
    return heard
