"""How results are shown: colours, windows, figures in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from AttentionRegistrationLib.request import Node

_JACOBIAN_WINDOW = (0.0, 2.0)
_JACOBIAN_COLOURS = "Jacobian determinant (blue shrinks, red grows)"
_FOLDED = (1.0, 0.9, 0.0)
_LESS, _SAME, _MORE = (0.10, 0.25, 0.75), (0.97, 0.97, 0.97), (0.75, 0.10, 0.10)
_HEAT = "vtkMRMLColorTableNodeIron"


def hierarchy_of(scene: Any) -> Node:
    """Return the scene's subject hierarchy."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def show_like(volume: Node, model: Node) -> None:
    """Give a volume the colours and the window of another."""
    other = model.GetDisplayNode()
    if other is None or not other.IsA("vtkMRMLScalarVolumeDisplayNode"):
        volume.CreateDefaultDisplayNodes()
        return
    own = _display(volume, other.GetColorNodeID())
    own.SetInterpolate(other.GetInterpolate())
    own.SetWindowLevel(other.GetWindow(), other.GetLevel())
    own.SetApplyThreshold(other.GetApplyThreshold())
    if other.GetApplyThreshold():
        own.SetThreshold(other.GetLowerThreshold(), other.GetUpperThreshold())


def show_jacobian(volume: Node) -> None:
    """Show local volume change: white is none, blue loss, red gain, yellow folding."""
    display = _display(volume, _jacobian_colours(volume.GetScene()).GetID())
    display.SetWindowLevelMinMax(*_JACOBIAN_WINDOW)


def show_heat(volume: Node, largest: float) -> None:
    """Show where a model looked, from 0 to the largest value."""
    display = _display(volume, _HEAT)
    display.SetWindowLevelMinMax(0.0, max(largest, 1e-6))


def figures(report: dict[str, Any], labels: dict[int, str]) -> dict[str, list[str]]:
    """Return the table of a report: columns of as many cells each."""
    rows = [*_rows(report, labels)]
    names = ("figure", "before", "after")
    return {name: [row[number] for row in rows] for number, name in enumerate(names)}


def _rows(report: dict[str, Any], labels: dict[int, str]) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    similarity = report.get("similarity") or {}
    if similarity:
        rows.append(_row(f"similarity ({similarity.get('name', '')})", similarity))
    dsc = report.get("dsc") or {}
    if dsc:
        rows.append(("Dice (mean)", _number(dsc.get("mean_before")), _number(dsc.get("mean_after"))))
        after, before = dsc.get("after") or {}, dsc.get("before") or {}
        for label, value in after.items():
            name = labels.get(int(label), f"label {label}")
            rows.append((f"Dice, {name}", _number(before.get(label)), _number(value)))
    if report.get("sre_mm"):
        rows.append(_row("surface registration error (mm)", report["sre_mm"]))
    if report.get("spread_mm") is not None:
        rows.append(("spread of the ensemble (mm)", "", _number(report["spread_mm"])))
    errors = report.get("tre_mm") or {}
    if errors:
        rows.append(_row("landmark error, mean (mm)", {when: errors[when]["mean"] for when in ("before", "after")}))
    rows.append(("folding (%)", "", _number(report.get("folding_percent"))))
    trip = report.get("round_trip_mm") or {}
    if trip:
        rows.append(("round trip there and back, mean (mm)", "", _number(trip.get("mean"))))
    rows.append(("time (s)", "", _number(report.get("seconds"))))
    return rows


def _row(name: str, values: dict[str, Any]) -> tuple[str, str, str]:
    return name, _number(values.get("before")), _number(values.get("after"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _display(volume: Node, colours: str) -> Node:
    """Give a volume a display node that looks for no window of its own: that takes 60 ms of a full-size volume."""
    scene = volume.GetScene()
    display = scene.CreateNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.UnRegister(None)
    display.SetAutoWindowLevel(False)
    display.SetAutoThreshold(False)
    scene.AddNode(display)
    display.SetAndObserveColorNodeID(colours)
    volume.SetAndObserveDisplayNodeID(display.GetID())
    return display


def _jacobian_colours(scene: Any) -> Node:
    """Return the scene's colour table for Jacobians; its first colour is for what folds."""
    for found in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if found.GetName() == _JACOBIAN_COLOURS:
            return found
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetName(_JACOBIAN_COLOURS)
    table.SetNumberOfColors(256)
    table.GetLookupTable().SetRange(0, 255)
    for number in range(256):
        share = (number - 127.5) / 127.5
        end = np.asarray(_MORE if share > 0 else _LESS)
        red, green, blue = _FOLDED if number == 0 else np.asarray(_SAME) + abs(share) * (end - np.asarray(_SAME))
        table.SetColor(number, f"{2 * number / 255:.3f}", float(red), float(green), float(blue), 1.0)
    table.SetHideFromEditors(False)
    return scene.AddNode(table)
