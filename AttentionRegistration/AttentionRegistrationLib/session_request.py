"""What a session asks for, what it lacks, and how it knows that something has changed."""

from __future__ import annotations

import contextlib
from typing import Any

import slicer
import vtk

from AttentionRegistrationLib import nodes
from AttentionRegistrationLib.request import Node, Outputs, Request
from AttentionRegistrationLib.session_state import GLAND, MRI, TRUS, TRUS_GLAND, State

PRESET = "mri-trus-prostate"


def request_of(state: State, attention: bool = False) -> Request:
    """Return what the session asks for: the MRI stays, and the way back carries the targets."""
    gland, trus_gland = state.get(GLAND), None if state.outdated_gland else state.get(TRUS_GLAND)
    segment = _segment(gland, state.segment)
    name = nodes.segment_names(gland).get(segment, "") if segment else ""
    return Request(
        fixed=state.get(MRI),
        moving=state.get(TRUS),
        fixed_labels=gland,
        fixed_labels_segment=segment,
        moving_labels=trus_gland if gland is not None else None,
        moving_labels_segment=_segment(trus_gland, name),
        preset=PRESET,
        outputs=Outputs(inverse=True, jacobian=False, attention=attention),
    )


def _segment(outline: Node, wanted: str) -> str:
    """Return the identifier of the wanted segment, by identifier or name, else of the first; empty: no segmentation."""
    if outline is None or not outline.IsA("vtkMRMLSegmentationNode"):
        return ""
    names = nodes.segment_names(outline)
    found = [identifier for identifier, name in names.items() if wanted in (identifier, name)]
    return next(iter(found or names), "")


def missing(state: State) -> str:
    """Return what keeps anything from being registered, see `Session.missing`."""
    mri, trus = state.get(MRI), state.get(TRUS)
    if mri is None or trus is None:
        return "no MRI" if mri is None else "no ultrasound"
    if mri is trus:
        return "same"
    return next((f"empty {what}" for node, what in ((mri, "MRI"), (trus, "ultrasound")) if not node.GetImageData()), "")


def look_of(volume: Node) -> tuple[Any, ...]:
    """Return what tells one state of a volume from another."""
    image, matrix = volume.GetImageData(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    place = nodes.from_vtk(matrix)
    above = volume.GetParentTransformNode()
    with contextlib.suppress(ValueError):
        place = nodes.world_matrix(volume, "moving") @ place
        above = None
    time_above = above.GetTransformToWorldMTime() if above is not None else 0
    return (None if image is None else (image.GetMTime(), image.GetDimensions()), place.tobytes(), time_above)


def outline_time(gland: Node) -> int:
    """Return when an outline was last drawn on."""
    if not gland.IsA("vtkMRMLSegmentationNode"):
        return 0 if gland.GetImageData() is None else int(gland.GetImageData().GetMTime())
    # The segmentation itself also changes when a surface is made of it to be shown.
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    content = gland.GetSegmentation()
    drawn = [content.GetSegment(identifier).GetRepresentation(binary) for identifier in nodes.segment_names(gland)]
    return max((int(image.GetMTime()) for image in drawn if image is not None), default=0)
