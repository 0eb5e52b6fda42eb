"""Ways to look at a result in the slice views: blended, as a checkerboard, with the deformed grid."""

from __future__ import annotations

import itertools

import numpy as np
import slicer
from numpy.typing import NDArray

from AttentionRegistrationLib.request import Node

_CUBES = 8  # along the longest side
_GRID_LINES = 20  # along the longest side


def show_layers(background: Node, foreground: Node, opacity: float) -> None:
    """Put two volumes into every slice view; None: that layer stays empty."""
    slicer.util.setSliceViewerLayers(background=background, foreground=foreground, foregroundOpacity=opacity)


def set_opacity(opacity: float) -> None:
    """Change nothing but how much of the foreground is seen, from 0 to 1."""
    slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)


def show_chart(chart: Node) -> None:
    """Show a chart in a layout that has a place for plots."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def checkerboard(fixed: Node, warped: Node) -> Node:
    """Make a volume node with cubes of both, which lie on the same grid; the scene is saved without it.

    The warped volume's grey values are brought into the window of the fixed volume.
    """
    window, level = _window(fixed)
    other_window, other_level = _window(warped)
    scale = window / other_window
    board = slicer.util.arrayFromVolume(fixed).astype(np.float32)
    other = slicer.util.arrayFromVolume(warped)
    sides = [size * space for size, space in zip(other.shape, warped.GetSpacing()[::-1], strict=True)]
    cuts = [np.array_split(np.arange(n), _cubes(side / max(sides))) for n, side in zip(other.shape, sides, strict=True)]
    for place in itertools.product(*(range(len(parts)) for parts in cuts)):
        if sum(place) % 2:
            cube = tuple(slice(part[n][0], part[n][-1] + 1) for part, n in zip(cuts, place, strict=True))
            board[cube] = (other[cube].astype(np.float32) - other_level) * scale + level
    return _hidden_volume(board, warped, (window, level))


def _cubes(share: float) -> int:
    return max(1, round(_CUBES * share))


def _window(volume: Node) -> tuple[float, float]:
    """Return window and level as displayed; of a volume without display what its values suggest."""
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    return max(float(display.GetWindow()), 1e-6), float(display.GetLevel())


def _hidden_volume(array: NDArray[np.float32], like: Node, window: tuple[float, float]) -> Node:
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName("Checkerboard")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.CopyOrientation(like)
    slicer.mrmlScene.AddNode(node)
    slicer.util.updateVolumeFromArray(node, array)
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
