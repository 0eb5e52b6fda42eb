"""What a request's nodes hold, checked: voxels, places, points."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from AttentionRegistrationLib import nodes
from AttentionRegistrationLib.nodes import Array, Geometry
from AttentionRegistrationLib.nodes_plane import Plane
from AttentionRegistrationLib.request import Node, Request
from AttentionRegistrationLib.worker_client import MORE

_PIECE = 16 << 20  # bytes copied at a time: some milliseconds
_ATTEMPTS = 3


@dataclass(frozen=True)
class Inputs:
    """What is sent to the worker.

    Attributes:
        volumes: voxels (not copied), ``(k, j, i)`` or ``(j, i)`` of a slice, and place by role.
        points: landmarks and ``start`` by role (LPS mm, or within the plane).
        labels: names of the labels, where segments had names.
        notes: sentences for the user.
        plane: of two single slices; None: two volumes.
    """

    volumes: dict[str, tuple[Array, Geometry]]
    points: dict[str, list[list[float]]] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    plane: Plane | None = None

    def place(self, role: str) -> Geometry:
        """Return where a volume lies."""
        return self.volumes[role][1]

    def messages(self) -> dict[str, object]:
        """Return what the worker is told of the volumes by role.

        Raises:
            ValueError: a mask or label map is no slice where the volumes are.
        """
        if self.plane is None:
            return {role: place.message(f"{role}.npy") for role, (_, place) in self.volumes.items()}
        return {role: self.plane.message(place, f"{role}.npy", role) for role, (_, place) in self.volumes.items()}


def read(request: Request) -> Inputs:
    """Look at every node of a request; nothing is copied or changed.

    Raises:
        ValueError: something cannot be registered; the sentence says what to do.
    """
    if request.fixed is None or request.moving is None:
        raise ValueError("Choose a fixed and a moving volume.")
    if request.fixed is request.moving:
        raise ValueError("moving: it is the fixed volume itself; choose another.")
    volumes = {role: nodes.read_volume(getattr(request, role), role) for role in ("fixed", "moving")}
    for side in ("fixed", "moving"):
        mask = getattr(request, f"{side}_mask")
        if mask is not None:
            volumes[f"{side}_mask"] = _mask(mask, getattr(request, f"{side}_mask_segment"), f"{side}_mask")
    names = _label_names(request)
    for role in ("fixed_labels", "moving_labels"):
        if getattr(request, role) is not None:
            volumes[role] = _labels(getattr(request, role), getattr(request, f"{role}_segment"), names, role)
    points, notes = _points(request)
    labels = {value: name for name, value in names.items()}
    plane = Plane.of(volumes["fixed"][1], volumes["moving"][1])
    if plane is None:
        return Inputs(volumes, points, labels, notes)
    points = {role: (plane.start if role == "start" else plane.points)(values) for role, values in points.items()}
    inputs = Inputs({role: (array[0], place) for role, (array, place) in volumes.items()}, points, labels, notes, plane)
    inputs.messages()
    return inputs


def copied(request: Request, inputs: Inputs) -> Generator[bool, None, dict[str, Array]]:
    """Copy the voxels in pieces; yield after each. Begin again when a volume changes meanwhile."""
    sources = {role: array for role, (array, _) in inputs.volumes.items()}
    images = [request.fixed.GetImageData(), request.moving.GetImageData()]
    copies: dict[str, Array] = {}
    for _ in range(_ATTEMPTS):
        times = [image.GetMTime() for image in images]
        for role, source in sources.items():
            copies[role] = np.empty_like(source, order="C")
            slices = max(1, _PIECE // max(1, source[0].nbytes))
            for first in range(0, len(source), slices):
                copies[role][first : first + slices] = source[first : first + slices]
                yield MORE
        if times == [image.GetMTime() for image in images]:
            break
    return copies


def _mask(node: Node, segment: str, role: str) -> tuple[Array, Geometry]:
    if not node.IsA("vtkMRMLSegmentationNode"):
        return nodes.read_volume(node, role)
    names = nodes.segment_names(node)
    chosen = [identifier for identifier, name in names.items() if not segment or segment in (identifier, name)]
    if segment and not chosen:
        raise ValueError(f"{role}: '{node.GetName()}' has no segment '{segment}'; choose one of {_listed(names)}.")
    return nodes.read_segments(node, dict.fromkeys(chosen, 1), role)


def _listed(names: dict[str, str]) -> str:
    return ", ".join(f"'{name}'" for name in names.values()) or "another segmentation's"


def _label_names(request: Request) -> dict[str, int]:
    """Number the segments by name, so that segments of one name have one label in both volumes."""
    names: dict[str, int] = {}
    for role in ("fixed_labels", "moving_labels"):
        node = getattr(request, role)
        if node is not None and not getattr(request, f"{role}_segment") and node.IsA("vtkMRMLSegmentationNode"):
            for name in nodes.segment_names(node).values():
                names.setdefault(name, len(names) + 1)
    return names


def _labels(node: Node, segment: str, names: dict[str, int], role: str) -> tuple[Array, Geometry]:
    if segment or not node.IsA("vtkMRMLSegmentationNode"):
        return _mask(node, segment, role)
    values = {identifier: names[name] for identifier, name in nodes.segment_names(node).items()}
    return nodes.read_segments(node, values, role)


def _points(request: Request) -> tuple[dict[str, list[list[float]]], tuple[str, ...]]:
    points: dict[str, list[list[float]]] = {}
    if (request.fixed_landmarks is None) != (request.moving_landmarks is None):
        raise ValueError("landmarks: choose them for both volumes, or for neither.")
    if request.fixed_landmarks is not None:
        found = [nodes.read_points(node) for node in (request.fixed_landmarks, request.moving_landmarks)]
        if len(found[0]) != len(found[1]) or not found[0]:
            counts = f"{len(found[0])} in the fixed and {len(found[1])} in the moving volume"
            raise ValueError(f"landmarks: place as many in both, in the same order; there are {counts}.")
        points |= {"fixed_landmarks": found[0], "moving_landmarks": found[1]}
    if request.start is None:
        return points, ()
    if nodes.is_above(request.start, request.moving):
        said = f"The moving volume is already under '{request.start.GetName()}', which is counted once."
        return points, (said,)
    points["start"] = nodes.read_start(request.start)
    return points, ()
