"""Single slices: registered within their plane, put back into space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib import nodes, nodes_input
from AttentionRegistrationLib.logic import Logic
from AttentionRegistrationLib.request import Request
from regcore.grid import Grid
from regcore.transform import RigidTransform

from .fake_worker import FLAT, displacement
from .scenes import EVERYTHING, add_volume, finish, from_world, ras_matrix, to_world, world_of

TURN = RigidTransform.from_euler((25, -40, 70), [0, 0, 0]).matrix
# Turned, mirrored in the plane, and six millimetres above the fixed one.
IN_PLANE = RigidTransform.from_euler((0, 0, 35), [0, 0, 0]).matrix @ np.diag([1, -1, 1])
ABOVE = 6.0
FIXED = Grid.of((30, 24, 1), (1.2, 1.5, 4.0), (-20, 10, 100), TURN)
MOVING = Grid.of((26, 28, 1), (1.1, 1.3, 2.0), (-15, 5, 98), TURN @ IN_PLANE)


@pytest.fixture
def pair(scene: Any) -> tuple[Any, Any]:
    normal = TURN[:, 2]
    origin = np.array(MOVING.origin) - normal * (normal @ (np.array(MOVING.origin) - FIXED.origin)) + ABOVE * normal
    moving = Grid.of(MOVING.size, MOVING.spacing, origin, MOVING.axes)
    return add_volume(scene, FIXED, "fixed"), add_volume(scene, moving, "moving")


def probes() -> np.ndarray:
    """Voxels of the fixed slice (LPS mm)."""
    generator = np.random.default_rng(1)
    index = np.stack([generator.integers(2, n - 2, 20) for n in FIXED.size[:2]] + [np.zeros(20, int)], axis=-1)
    return FIXED.to_world(index)


def test_points_move_within_the_plane_and_on_to_the_other(logic: Logic, pair: tuple[Any, Any]) -> None:
    outcome = finish(logic, Request(*pair)).done
    for point in probes():
        flat = displacement((TURN.T @ point)[:2])
        there = point + TURN @ [*flat, ABOVE]
        np.testing.assert_allclose(from_world(outcome.transform, point), there, atol=1e-3)
        np.testing.assert_allclose(to_world(outcome.transform, there), point, atol=2e-3)


def test_a_linear_result_does_too(logic: Logic, pair: tuple[Any, Any]) -> None:
    outcome = finish(logic, Request(*pair, model="linear")).done
    for point in probes():
        x, y, _ = np.array(FLAT) @ [*(TURN.T @ point)[:2], 1.0]
        there = TURN @ [x, y, (TURN.T @ point)[2] + ABOVE]
        np.testing.assert_allclose(from_world(outcome.transform, point), there, atol=1e-6)


def test_what_is_made_lies_on_the_fixed_slice(logic: Logic, pair: tuple[Any, Any]) -> None:
    outcome = finish(logic, Request(*pair, outputs=EVERYTHING)).done
    for node in (outcome.warped, outcome.jacobian, *outcome.attention):
        np.testing.assert_allclose(world_of(node), ras_matrix(FIXED), atol=1e-9)
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(outcome.warped), slicer.util.arrayFromVolume(pair[0]).astype(np.float32)
    )
    assert {len(outcome.report["asked"][role]["spacing"]) for role in ("fixed", "moving")} == {2}


def test_landmarks_and_start_are_told_within_the_plane(scene: Any, pair: tuple[Any, Any]) -> None:
    point = FIXED.to_world([3, 4, 0])
    marks = [scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode") for _ in range(2)]
    for mark in marks:
        mark.AddControlPoint([-point[0], -point[1], point[2]])
    start = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    shift = TURN @ [3.0, -2.0, 0.0]  # LPS, moving to fixed
    matrix = np.eye(4)
    matrix[:3, 3] = [-shift[0], -shift[1], shift[2]]
    start.SetMatrixTransformToParent(nodes.to_vtk(matrix))
    inputs = nodes_input.read(Request(*pair, fixed_landmarks=marks[0], moving_landmarks=marks[1], start=start))
    np.testing.assert_allclose(inputs.points["fixed_landmarks"], [(TURN.T @ point)[:2]], atol=1e-6)
    np.testing.assert_allclose(inputs.points["start"], [[1, 0, -3], [0, 1, 2], [0, 0, 1]], atol=1e-9)
    matrix[:3, :3] = RigidTransform.from_euler((20, 0, 0), [0, 0, 0]).matrix
    start.SetMatrixTransformToParent(nodes.to_vtk(matrix))
    with pytest.raises(ValueError, match="start: the transform turns the slice out of its plane"):
        nodes_input.read(Request(*pair, start=start))


def test_what_is_no_pair_of_slices_is_refused(scene: Any, pair: tuple[Any, Any], awkward_grids: Any) -> None:
    volume = add_volume(scene, awkward_grids["plain"], "volume")
    tilted = add_volume(scene, Grid.of((20, 20, 1)), "tilted")
    cases = [
        (Request(pair[0], volume), "fixed: it is a single slice and the moving volume is not"),
        (Request(volume, pair[0]), "moving: it is a single slice and the fixed volume is not"),
        (Request(pair[0], tilted), "moving: the two slices are not parallel"),
        (Request(*pair, fixed_mask=volume), "fixed_mask: expected a single slice"),
    ]
    for request, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            nodes_input.read(request)
