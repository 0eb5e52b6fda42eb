"""Ways to look at a result in the slice views: blended, as a checkerboard, with the deformed grid."""

from __future__ import annotations

import slicer
import vtk

from AttentionRegistrationLib.request import Node

_SQUARES = 8  # along the longest side
_GRID_LINES = 20  # along the longest side


def show_layers(background: Node, foreground: Node, opacity: float) -> None:
    """Put two volumes into every slice view; None: that layer stays empty."""
    slicer.util.setSliceViewerLayers(background=background, foreground=foreground, foregroundOpacity=opacity)


def set_opacity(opacity: float) -> None:
    """Change nothing but how much of the foreground is seen, from 0 to 1."""
    slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)


def checkerboard(fixed: Node, warped: Node) -> Node:
    """Make a volume node with squares of both, which lie on the same grid; the scene is saved without it.

    The warped volume's grey values are brought into the window of the fixed volume.
    """
    window, level = _window(fixed)
    other_window, other_level = _window(warped)
    board = vtk.vtkImageCheckerboard()
    board.SetInputConnection(0, _scaled(fixed, 1.0, 0.0).GetOutputPort())
    scale = window / other_window
    board.SetInputConnection(1, _scaled(warped, scale, level / scale - other_level).GetOutputPort())
    sides = [
        size * space for size, space in zip(warped.GetImageData().GetDimensions(), warped.GetSpacing(), strict=True)
    ]
    board.SetNumberOfDivisions(*(max(1, round(_SQUARES * side / max(sides))) for side in sides))
    board.Update()
    return _hidden_volume(board.GetOutput(), warped, (window, level))


def _window(volume: Node) -> tuple[float, float]:
    """Return window and level as displayed; of a volume without display what its values suggest."""
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    return max(float(display.GetWindow()), 1e-6), float(display.GetLevel())


def _scaled(volume: Node, scale: float, shift: float) -> vtk.vtkImageShiftScale:
    """Return a filter that gives ``(value + shift) * scale``."""
    scaled = vtk.vtkImageShiftScale()
    scaled.SetInputData(volume.GetImageData())
    scaled.SetShift(shift)
    scaled.SetScale(scale)
    scaled.SetOutputScalarTypeToFloat()
    return scaled


def _hidden_volume(image: vtk.vtkImageData, like: Node, window: tuple[float, float]) -> Node:
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName("Checkerboard")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.CopyOrientation(like)
    node.SetAndObserveImageData(image)
    slicer.mrmlScene.AddNode(node)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.AutoWindowLevelOff()
    display.SetWindowLevel(*window)
    return node


def show_grid(transform: Node, region: Node, shown: bool) -> None:
    """Draw how a transform deforms a grid over a region, or stop doing so."""
    transform.CreateDefaultDisplayNodes()
    display = transform.GetDisplayNode()
    if shown:
        sides = [n * space for n, space in zip(region.GetImageData().GetDimensions(), region.GetSpacing(), strict=True)]
        display.SetAndObserveRegionNode(region)
        display.SetVisualizationMode(slicer.vtkMRMLTransformDisplayNode.VIS_MODE_GRID)
        display.SetGridSpacingMm(max(sides) / _GRID_LINES)
    display.SetVisibility(shown)
    display.SetVisibility2D(shown)
