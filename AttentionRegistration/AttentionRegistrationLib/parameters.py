"""What the panel holds, kept in the scene and saved with it, and the request it becomes."""

from __future__ import annotations

from typing import Annotated, Any, Union

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLLinearTransformNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLPlotChartNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceNode,
    vtkMRMLTableNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from AttentionRegistrationLib.choices import NODE, Preset
from AttentionRegistrationLib.request import Outputs, Request

Regions = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode]  # noqa: UP007 - Slicer's wrapper knows no `X | Y`
FEWEST_POINTS = 3


@parameterNodeWrapper
class Parameters:
    """The choices of the tabs Register and Cine series, and their last results.

    Attributes:
        fixed: the volume that stays.
        moving: the volume brought onto it.
        preset: name of a preset.
        initial: steps of the initial transform with commas between, ``node``, or empty: as the preset says.
        initial_transform: where to start from, if ``initial`` is ``node``.
        fixed_mask: region that counts.
        moving_mask: region that counts.
        fixed_segments: outlines.
        moving_segments: outlines of the same organs.
        fixed_points: landmarks.
        moving_points: the same landmarks.
        model: name of a model, ``none``, or empty: as the preset says.
        refine: whether the model's result is refined.
        iterations: of the refinement; 0: the usual number.
        similarity: what refinement compares; empty: as the preset says.
        device: where to compute.
        inverse: whether to make the inverse transform.
        jacobian: whether to make the map of volume change.
        attention: whether to make attention maps.
        result_transform: of the last registration.
        result_warped: of the last registration.
        result_jacobian: of the last registration.
        result_table: figures of the last registration.
        sequence: frames of a cine series.
        reference: number of its frame that stays, from 0.
        outlines: drawn on that frame.
        series_table: figures of the last series.
        series_chart: its curves.
    """

    fixed: vtkMRMLScalarVolumeNode
    moving: vtkMRMLScalarVolumeNode
    preset: str = "any-pair"
    initial: str = ""
    initial_transform: vtkMRMLLinearTransformNode
    fixed_mask: Regions
    moving_mask: Regions
    fixed_segments: Regions
    moving_segments: Regions
    fixed_points: vtkMRMLMarkupsFiducialNode
    moving_points: vtkMRMLMarkupsFiducialNode
    model: str = ""
    refine: bool = True
    iterations: Annotated[int, WithinRange(0, 1000)] = 0
    similarity: str = ""
    device: str = "auto"
    inverse: bool = True
    jacobian: bool = True
    attention: bool = False
    result_transform: vtkMRMLTransformNode
    result_warped: vtkMRMLScalarVolumeNode
    result_jacobian: vtkMRMLScalarVolumeNode
    result_table: vtkMRMLTableNode
    sequence: vtkMRMLSequenceNode
    reference: int = 0
    outlines: Regions
    series_table: vtkMRMLTableNode
    series_chart: vtkMRMLPlotChartNode


def missing(chosen: Parameters) -> str:
    """Return what has to be chosen before registration can start, as a sentence; empty: nothing."""
    return _missing_volume(chosen) or _missing_start(chosen) or _missing_points(chosen)


def _missing_volume(chosen: Parameters) -> str:
    if chosen.fixed is None:
        return _("Choose the fixed volume: the one that stays.")
    if chosen.moving is None:
        return _("Choose the moving volume: the one to bring onto the fixed volume.")
    if chosen.fixed is chosen.moving:
        return _("Fixed and moving are the same volume: choose two.")
    for node in (chosen.fixed, chosen.moving):
        if node.GetImageData() is None:
            return _("The volume {name} is empty: load its image or choose another.").format(name=node.GetName())
    return ""


def _missing_start(chosen: Parameters) -> str:
    if chosen.initial == NODE and chosen.initial_transform is None:
        return _("Choose the transform to start from, under Initial transform.")
    if chosen.initial == "landmarks" and not (chosen.fixed_points and chosen.moving_points):
        return _("Choose the fixed and the moving points, under Masks, segments and points.")
    if chosen.initial == "labels" and not (chosen.fixed_segments and chosen.moving_segments):
        return _("Choose the fixed and the moving segments, under Masks, segments and points.")
    return ""


def _missing_points(chosen: Parameters) -> str:
    if not (chosen.fixed_points and chosen.moving_points):
        return ""
    fixed, moving = (node.GetNumberOfControlPoints() for node in (chosen.fixed_points, chosen.moving_points))
    if fixed != moving:
        text = _("There are {fixed} fixed and {moving} moving points: place as many in both, in the same order.")
        return text.format(fixed=fixed, moving=moving)
    if chosen.initial == "landmarks" and fixed < FEWEST_POINTS:
        return _("Place at least {count} points in both volumes.").format(count=FEWEST_POINTS)
    return ""


def to_request(chosen: Parameters, preset: Preset) -> Request:
    """Return what the panel asks for.

    Args:
        chosen: the panel's choices.
        preset: the one that ``chosen`` names; a model chosen by hand takes its place, but not that of its other parts.
    """
    choices = method(chosen, preset)
    if chosen.model:
        choices["init"] = preset.init
    if chosen.initial:
        choices["init"] = ("none",) if chosen.initial == NODE else tuple(chosen.initial.split(","))
    paired_points = chosen.fixed_points and chosen.moving_points
    return Request(
        fixed=chosen.fixed,
        moving=chosen.moving,
        fixed_mask=chosen.fixed_mask,
        moving_mask=chosen.moving_mask,
        fixed_labels=chosen.fixed_segments,
        moving_labels=chosen.moving_segments,
        fixed_landmarks=chosen.fixed_points if paired_points else None,
        moving_landmarks=chosen.moving_points if paired_points else None,
        start=chosen.initial_transform if chosen.initial == NODE else None,
        outputs=Outputs(chosen.inverse, chosen.jacobian, chosen.attention),
        **choices,
    )


def method(chosen: Parameters, preset: Preset) -> dict[str, Any]:
    """Return what a request says of the method, without how it starts; see `to_request`."""
    choices: dict[str, Any] = {"device": chosen.device}
    if chosen.model:
        choices |= {"model": chosen.model, "similarity": preset.similarity, "slicewise": preset.slicewise}
    else:
        choices["preset"] = preset.name
    if chosen.similarity:
        choices["similarity"] = chosen.similarity
    if not chosen.refine or chosen.iterations:
        choices["refine"] = chosen.iterations if chosen.refine else 0
    return choices


def keep_result(chosen: Parameters, transform: Any, warped: Any, jacobian: Any, table: Any) -> None:
    """Remember the last result in the scene; all None: there is none."""
    chosen.result_transform, chosen.result_warped = transform, warped
    chosen.result_jacobian, chosen.result_table = jacobian, table
