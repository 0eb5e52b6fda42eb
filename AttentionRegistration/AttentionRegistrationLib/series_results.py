"""What a series leaves in the scene, in one folder: transforms as a sequence, motion as a table, curves, a record."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import slicer

from AttentionRegistrationLib import nodes, results
from AttentionRegistrationLib.nodes import Geometry
from AttentionRegistrationLib.nodes_input import Inputs
from AttentionRegistrationLib.request import Node, Request
from AttentionRegistrationLib.wording import in_panel
from AttentionRegistrationLib.worker_client import Message, PrivateFolder

_SIZES = {"area_mm2": "area (mm2)", "volume_mm3": "volume (mm3)"}


@dataclass(frozen=True)
class Frame:
    """What the registration of one frame found.

    Attributes:
        transform: node, not in the scene.
        geometry: of the reference.
        report: with the part ``motion``.
        labels: names of labels, where segments had names.
        notes: sentences for the user.
        seconds: that the worker took.
        device: that it used.
    """

    transform: Node
    geometry: Geometry
    report: dict[str, Any]
    labels: dict[int, str]
    notes: tuple[str, ...]
    seconds: float
    device: str

    @property
    def identity(self) -> Node:
        """A transform node of the same kind that moves nothing."""
        if self.transform.IsA("vtkMRMLLinearTransformNode"):
            return slicer.vtkMRMLLinearTransformNode()
        vectors = self.transform.GetTransformFromParent().GetDisplacementGrid()
        image, array = nodes.empty_image((*self.geometry.shape, 3), nodes.voxels_of(vectors).dtype)
        array[...] = 0
        return nodes.grid_transform(image, self.geometry)

    @property
    def still(self) -> dict[str, Any]:
        """The figures of the reference itself."""
        labels = {}
        for number, found in self.report["motion"]["labels"].items():
            size = next(name for name in found if name in _SIZES)
            reference = found[size.replace(size.split("_")[0], "reference")]
            labels[number] = {size: reference, "change_percent": 0.0, "mean_mm": 0.0}
        return {"mean_mm": 0.0, "max_mm": 0.0, "labels": labels}


@dataclass(frozen=True)
class SeriesOutcome:
    """What a series has put into the scene.

    Attributes:
        transforms: sequence node with the index values of the frames; what is put under one of them goes from that
            frame to the reference.
        table: a row for each frame: displacement (of thick slices: within them), and size of each label with its
            change.
        charts: of displacement, and of the change of size where there are labels.
        record: text node with the figures and the settings as JSON.
        folder: item of the subject hierarchy that holds them all.
        motion: the figures, frame by frame.
        notes: sentences for the user.
        seconds: that the worker took.
        device: that it used.
    """

    transforms: Node
    table: Node
    charts: tuple[Node, ...]
    record: Node
    folder: int
    motion: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    seconds: float
    device: str


def read_frame(
    result: Message, folder: PrivateFolder, request: Request, inputs: Inputs
) -> Generator[bool, None, Frame]:
    """Read what the worker found of a frame; nothing is added to the scene.

    Raises:
        ValueError: the result is not what the protocol promises.
    """
    images, _ = yield from results.read(result, folder, inputs, ("transform",))
    transform = results.transform_node(result["transform"], images.get("transform"), inputs, "transform")
    notes = tuple(in_panel(note) for note in result.get("notes") or ())
    seconds, device = float(result.get("seconds") or 0), str(result.get("device") or "")
    return Frame(transform, inputs.place("fixed"), result["report"], inputs.labels, notes, seconds, device)


def add(sequence: Node, transforms: Node, reference: int, frames: dict[int, Frame]) -> SeriesOutcome:
    """Add the nodes of a series to its scene; none when it fails.

    Args:
        sequence: what was registered.
        transforms: sequence node of its transforms, not in the scene.
        reference: number of the frame that stays.
        frames: the others by number.
    """
    first = next(iter(frames.values()))
    count = sequence.GetNumberOfDataNodes()
    motion = tuple(first.still if n == reference else frames[n].report["motion"] for n in range(count))
    made = results.Made(sequence.GetScene(), f"{sequence.GetName()} motion", sequence)
    try:
        made.add(transforms, "transforms")
        across, columns = _columns(sequence, motion, first.labels)
        table = made.table(columns)
        charts = _charts(made, table, across, list(columns))
        settings = {key: first.report.get(key) for key in ("version", "model", "weights", "device", "settings")}
        record = made.text(json.dumps({**settings, "reference": reference, "frames": motion}, indent=1))
        _synchronise(sequence, transforms)
    except BaseException:
        made.undo()
        raise
    notes = dict.fromkeys(note for frame in frames.values() for note in frame.notes)
    seconds = sum(frame.seconds for frame in frames.values())
    return SeriesOutcome(transforms, table, charts, record, made.folder, motion, tuple(notes), seconds, first.device)


def _columns(
    sequence: Node, motion: tuple[dict[str, Any], ...], names: dict[int, str]
) -> tuple[str, dict[str, list[float]]]:
    """Return the column to draw over, and the table's columns."""
    count, across = len(motion), "frame"
    columns = {"frame": [float(number) for number in range(count)]}
    if sequence.GetIndexType() == slicer.vtkMRMLSequenceNode.NumericIndex:
        across = f"{sequence.GetIndexName() or 'index'} ({sequence.GetIndexUnit() or 'no unit'})"
        columns[across] = [float(sequence.GetNthIndexValue(number)) for number in range(count)]
    columns["mean displacement (mm)"] = [frame["mean_mm"] for frame in motion]
    columns["largest displacement (mm)"] = [frame["max_mm"] for frame in motion]
    for number, found in motion[0]["labels"].items():
        name = names.get(int(number), f"label {number}")
        titles = {size: title for size, title in _SIZES.items() if size in found}
        titles |= {"change_percent": "change (%)", "mean_mm": "mean displacement (mm)"}
        for key, title in titles.items():
            columns[f"{name} {title}"] = [frame["labels"][number][key] for frame in motion]
    return across, columns


def _charts(made: results.Made, table: Node, across: str, columns: list[str]) -> tuple[Node, ...]:
    wanted = (("displacement", "displacement (mm)"), ("change of size", "change (%)"))
    found = [(what, ending, [name for name in columns if name.endswith(ending)]) for what, ending in wanted]
    return tuple(_chart(made, table, across, what, ending, names) for what, ending, names in found if names)


def _chart(made: results.Made, table: Node, across: str, what: str, unit: str, columns: list[str]) -> Node:
    chart = made.add(slicer.vtkMRMLPlotChartNode(), what)
    chart.SetTitle(chart.GetName())
    chart.SetXAxisTitle(across)
    chart.SetYAxisTitle(unit)
    for name in columns:
        series = made.add(slicer.vtkMRMLPlotSeriesNode(), name)
        series.SetName(name.removesuffix(f" {unit}"))  # what the legend says
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(across)
        series.SetYColumnName(name)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        series.SetUniqueColor()
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def _synchronise(sequence: Node, transforms: Node) -> None:
    """Let every browser of the sequence show the frame's transform too."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", sequence.GetScene()):
        if browser.IsSynchronizedSequenceNode(sequence, True):
            browser.AddSynchronizedSequenceNode(transforms)
