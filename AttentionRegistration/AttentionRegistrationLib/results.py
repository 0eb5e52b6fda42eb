"""From the worker's result to nodes in the scene: arrays read in a thread, nodes made one at a time."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import vtk

from AttentionRegistrationLib import nodes, nodes_display
from AttentionRegistrationLib.nodes import Array, Geometry
from AttentionRegistrationLib.nodes_input import Inputs
from AttentionRegistrationLib.nodes_plane import Plane
from AttentionRegistrationLib.request import Node, Request
from AttentionRegistrationLib.wording import in_panel
from AttentionRegistrationLib.worker_client import MORE, Message, PrivateFolder

_FIELDS = ("transform", "inverse")


@dataclass(frozen=True)
class Outcome:
    """What a registration has put into the scene.

    Attributes:
        transform: linear or grid transform node; what is put under it goes from the moving to the fixed space.
        warped: the moving volume on the fixed one's grid, in the world, under no transform.
        jacobian: local volume change: 1 none, 0 or less folding; None: not asked for.
        inverse: transform node from fixed to moving space; None: not asked for.
        attention: volumes on the fixed grid.
        table: figures before and after.
        record: text node with the report as JSON.
        folder: item of the subject hierarchy that holds them all.
        report: figures, settings and versions, as `regcore register` writes them.
        notes: sentences for the user.
        seconds: that the worker took.
        device: that it used.
    """

    transform: Node
    warped: Node
    jacobian: Node | None
    inverse: Node | None
    attention: tuple[Node, ...]
    table: Node
    record: Node
    folder: int
    report: dict[str, Any]
    notes: tuple[str, ...]
    seconds: float
    device: str


def add(result: Message, folder: PrivateFolder, request: Request, inputs: Inputs) -> Generator[bool, None, Outcome]:
    """Add the nodes of a result to the scene of the fixed volume; yield often. Leave none when it ends early.

    Args:
        result: the worker's message.
        folder: where its arrays are.
        request: what was asked.
        inputs: what the nodes held when the registration began.

    Raises:
        ValueError: the result is not what the protocol promises.
    """
    images, largest = yield from read(result, folder, inputs)
    made = Made(request.fixed.GetScene(), f"{request.moving.GetName()} to {request.fixed.GetName()}", request.fixed)
    try:
        outcome = yield from _nodes(made, request, result, images, inputs, largest)
    except BaseException:
        made.undo()
        raise
    return outcome


def read(
    result: Message, folder: PrivateFolder, inputs: Inputs, keys: tuple[str, ...] | None = None
) -> Generator[bool, None, tuple[dict[str, Any], dict[str, float]]]:
    """Read the arrays of a result, or some of them, into VTK's images; yield often.

    Returns:
        Images by what they are, and the largest value of each attention map.

    Raises:
        ValueError: the result is not what the protocol promises.
    """
    files = {key: name for key, name in _files(result).items() if keys is None or key in keys}
    headers = yield from folder.work(lambda: {key: _header(folder.path, name) for key, name in files.items()}, 0)
    images, arrays = {}, {}
    for key, (shape, dtype, _) in headers.items():
        images[key], arrays[key] = nodes.empty_image(_in_space(shape, key, inputs), dtype)
        yield MORE
    size = sum(array.nbytes for array in arrays.values())
    largest = yield from folder.work(lambda: _fill(folder.path, files, headers, arrays, inputs), size)
    return images, largest


def transform_node(told: Message, image: Any, inputs: Inputs, what: str) -> Node:
    """Return the node of a ``transform`` or ``inverse`` of the worker, not in the scene."""
    if told.get("linear") is not None:
        rows, plane = told["linear"], inputs.plane
        return nodes.linear_transform(rows if plane is None else _way(plane, what).lift_rows(rows))
    return nodes.grid_transform(image, _grid_of(told["field"], image, inputs, what))


def _nodes(
    made: Made,
    request: Request,
    result: Message,
    images: dict[str, Any],
    inputs: Inputs,
    largest: dict[str, float],
) -> Generator[bool, None, Outcome]:
    fixed = inputs.place("fixed")
    ends = request.fixed, request.moving
    transform = transform_node(result["transform"], images.get("transform"), inputs, "transform")
    made.transform(transform, *ends, "transform")
    yield MORE
    inverse = None
    if result.get("inverse"):
        inverse = transform_node(result["inverse"], images.get("inverse"), inputs, "inverse")
        made.transform(inverse, *ends[::-1], "inverse")
        yield MORE
    warped = made.volume(images["warped"], fixed, "warped")
    yield MORE
    nodes_display.show_like(warped, request.moving)
    yield MORE
    jacobian = None
    if "jacobian" in images:
        jacobian = made.volume(images["jacobian"], fixed, "Jacobian")
        jacobian.SetDescription("Local volume change: 1 none, above 1 growth, 0 or less folding")
        nodes_display.show_jacobian(jacobian)
        yield MORE
    attention = []
    for number, item in enumerate(result.get("attention") or ()):
        key = f"attention {number}"
        attention.append(made.volume(images[key], fixed, f"attention {item['name']}"))
        nodes_display.show_heat(attention[-1], largest[key])
        yield MORE
    report = result["report"]
    table = made.table(nodes_display.figures(report, inputs.labels))
    record = made.text(json.dumps(report, indent=1))
    notes = tuple(in_panel(note) for note in result.get("notes") or ())
    seconds, device = float(result.get("seconds") or 0), str(result.get("device") or "")
    return Outcome(
        transform,
        warped,
        jacobian,
        inverse,
        tuple(attention),
        table,
        record,
        made.folder,
        report,
        notes,
        seconds,
        device,
    )


class Made:
    """The nodes made so far, all in one folder.

    Args:
        scene: that they are for.
        name: what theirs begin with; a number is added where it is taken.
        input_node: the folder lies beside it.
    """

    def __init__(self, scene: Any, name: str, input_node: Node) -> None:
        self._scene = scene
        self._name = self._scene.GetUniqueNameByString(name)
        self._hierarchy = nodes_display.hierarchy_of(self._scene)
        beside = self._hierarchy.GetItemByDataNode(input_node)
        above = self._hierarchy.GetItemParent(beside) if beside else self._hierarchy.GetSceneItemID()
        self.folder: int = self._hierarchy.CreateFolderItem(above, self._name)
        self._nodes: list[Node] = []

    def transform(self, node: Node, to: Node, start: Node, what: str) -> None:
        """Add the transform from the space of ``start`` to that of ``to``."""
        self.add(node, what)
        node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), to.GetID())
        node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), start.GetID())

    def volume(self, image: Any, geometry: Geometry, what: str) -> Node:
        """Add a volume."""
        node = vtk_node("vtkMRMLScalarVolumeNode", self._scene)
        nodes.set_voxels(node, image, geometry)
        return self.add(node, what)

    def table(self, columns: Mapping[str, Sequence[str] | Sequence[float]]) -> Node:
        """Add a table, every column of texts or of numbers."""
        node = vtk_node("vtkMRMLTableNode", self._scene)
        for name, cells in columns.items():
            texts = all(isinstance(cell, str) for cell in cells)
            column = vtk.vtkStringArray() if texts else vtk.vtkDoubleArray()
            column.SetName(name)
            for cell in cells:
                column.InsertNextValue(cell)
            node.AddColumn(column)
        return self.add(node, "figures")

    def text(self, content: str) -> Node:
        """Add the record."""
        node = vtk_node("vtkMRMLTextNode", self._scene)
        node.SetText(content)
        return self.add(node, "record")

    def undo(self) -> None:
        """Remove everything again."""
        for node in self._nodes:
            if self._scene.IsNodePresent(node):
                for number in range(node.GetNumberOfDisplayNodes() if hasattr(node, "GetNthDisplayNode") else 0):
                    self._scene.RemoveNode(node.GetNthDisplayNode(number))
                self._scene.RemoveNode(node)
        if self._hierarchy.GetItemName(self.folder) == self._name:
            self._hierarchy.RemoveItem(self.folder)

    def add(self, node: Node, what: str) -> Node:
        """Add a node to the scene and to the folder, under a name that ends with what it is."""
        node.SetName(f"{self._name} {what}")
        self._scene.AddNode(node)
        self._nodes.append(node)
        item = self._hierarchy.GetItemByDataNode(node)
        if item:
            self._hierarchy.SetItemParent(item, self.folder)
        else:
            self._hierarchy.CreateItem(self.folder, node)
        return node


def vtk_node(name: str, scene: Any) -> Node:
    """Return a new node of a class, not yet in the scene."""
    node = scene.CreateNodeByClass(name)
    node.UnRegister(None)
    return node


def _way(plane: Plane, what: str) -> Plane:
    return plane.back if what == "inverse" else plane


def _grid_of(field: Message, image: Any, inputs: Inputs, what: str) -> Geometry:
    """Return where a field lies: the transform's on the fixed grid, the inverse's where the worker says."""
    if what == "transform":
        return inputs.place("fixed")
    if inputs.plane is not None:
        return inputs.place("moving")
    return Geometry.of_message(field, nodes.voxels_of(image).shape)


def _in_space(shape: tuple[int, ...], key: str, inputs: Inputs) -> tuple[int, ...]:
    if inputs.plane is None:
        return shape
    return (1, *shape[:2], 3) if key in _FIELDS else (1, *shape)


_Header = tuple[tuple[int, ...], np.dtype[Any], int]


def _files(result: Message) -> dict[str, str]:
    """Return the names of the arrays by what they are."""
    files = {}
    for key in _FIELDS:
        field = (result.get(key) or {}).get("field")
        if field is not None:
            files[key] = field["array"]
    files |= {key: result[key]["array"] for key in ("warped", "jacobian") if result.get(key)}
    return files | {f"attention {n}": item["array"] for n, item in enumerate(result.get("attention") or ())}


def _header(folder: Path, name: str) -> _Header:
    if Path(name).name != name:
        raise ValueError(f"the worker named a file outside its folder: {name}")
    with (folder / name).open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if fortran or dtype.hasobject or len(shape) < 2:
            raise ValueError(f"the worker wrote {name} in another form than agreed")
        return shape, dtype, file.tell()


def _fill(
    folder: Path, files: dict[str, str], headers: dict[str, _Header], arrays: dict[str, Array], inputs: Inputs
) -> dict[str, float]:
    """Read every file into VTK's memory; return the largest value of each attention map."""
    for key, name in files.items():
        if inputs.plane is None:
            _read_into(folder / name, headers[key][2], arrays[key])
        else:
            flat = np.load(folder / name, allow_pickle=False)
            arrays[key][...] = _way(inputs.plane, key).lift_field(flat) if key in _FIELDS else flat[None]
        if key in _FIELDS:
            nodes.turn_vectors(arrays[key])
    return {key: float(array.max()) for key, array in arrays.items() if key.startswith("attention")}


def _read_into(path: Path, start: int, array: Array) -> None:
    """Read a file from byte ``start`` straight into an array."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = array.reshape(-1).view(np.uint8).data
        while left:
            count = file.readinto(left)
            if not count:
                raise ValueError(f"the worker wrote half of {path.name}")
            left = left[count:]
