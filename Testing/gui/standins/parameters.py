"""Stand-in for slicer.parameterNodeWrapper: texts, numbers, truths and nodes, bound to the widgets a panel has."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from .pythonqt import MODULE as QT
from .widgets import qMRMLNodeComboBox


@dataclass(frozen=True)
class WithinRange:
    """Smallest and largest number."""

    minimum: float
    maximum: float


@dataclass(frozen=True)
class _Parameter:
    kind: type | tuple[type, ...]
    range: WithinRange | None
    default: Any

    @property
    def is_node(self) -> bool:
        return self.kind not in (str, int, float, bool)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> Any:
        if self.is_node:
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        return self.kind(text)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: Any) -> None:
        if self.is_node:
            if value is not None and not isinstance(value, self.kind):
                raise ValueError(f"{name}: expected a node of {self.kind}, got {value.GetClassName()}")
            node.SetNodeReferenceID(name, value.GetID() if value else None)
            return
        if type(value) is not self.kind:
            raise ValueError(f"{name}: expected {self.kind}, got {value!r}")
        if self.range and not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"{name}: {value} is out of range")
        node.SetParameter(name, str(value))


def parameterNodeWrapper(described: type) -> type:  # noqa: N802
    """Make each annotated member of the class a property kept in a parameter node."""
    hints = typing.get_type_hints(described, include_extras=True)
    parameters = {name: _parameter(hint, getattr(described, name, None)) for name, hint in hints.items()}
    members: dict[str, Any] = {name: _property(name, parameter) for name, parameter in parameters.items()}
    return type(described.__name__, (_Wrapper,), members | {"parameters": parameters, "__doc__": described.__doc__})


def _parameter(hint: Any, default: Any) -> _Parameter:
    arguments = typing.get_args(hint)
    annotated = typing.get_origin(hint) is typing.Annotated
    kind = arguments[0] if annotated else hint
    if typing.get_origin(kind) is typing.Union:
        kind = tuple(one for one in typing.get_args(kind) if one is not type(None))
    within = next((note for note in arguments[1:] if isinstance(note, WithinRange)), None) if annotated else None
    empty = kind() if kind in (str, int, float, bool) else None
    return _Parameter(kind, within, empty if default is None else default)


def _property(name: str, parameter: _Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode, name),
        lambda self, value: parameter.write(self.parameterNode, name, value),
    )


class _Wrapper:
    parameters: typing.ClassVar[dict[str, _Parameter]] = {}

    def __init__(self, node: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = node
        self._bindings: dict[int, dict[str, Any]] = {}
        self._updating = False
        for name, parameter in self.parameters.items():
            known = node.GetNodeReferenceID(name) if parameter.is_node else node.GetParameter(name)
            if not known and not (parameter.kind is str and node.HasParameter(name)):
                parameter.write(node, name, parameter.default)

    def connectGui(self, gui: Any) -> int:  # noqa: N802
        """Bind every widget that has the property SlicerParameterName."""
        widgets = {w.property("SlicerParameterName"): w for w in vars(gui).values() if hasattr(w, "property")}
        widgets.pop(None, None)
        tag = len(self._bindings)
        self._bindings[tag] = widgets
        for name, widget in widgets.items():
            parameter = self.parameters[name]
            if parameter.range is not None:
                widget.setRange(parameter.range.minimum, parameter.range.maximum)
            _write_widget(widget, parameter.read(self.parameterNode, name))
            _changed_signal(widget).connect(self._taker(tag, name, widget))
        self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._show(tag))
        return tag

    def disconnectGui(self, tag: int) -> None:  # noqa: N802
        """Let go of the widgets."""
        self._bindings.pop(tag, None)

    def AddObserver(self, event: int, callback: Callable[..., None], priority: float = 0.0) -> int:  # noqa: N802
        """Observe the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:  # noqa: N802
        """Stop observing the node."""
        self.parameterNode.RemoveObserver(tag)

    def _taker(self, tag: int, name: str, widget: Any) -> Callable[..., None]:
        def take(*_: Any) -> None:
            if tag in self._bindings and not self._updating:
                self.parameters[name].write(self.parameterNode, name, _read_widget(widget))

        return take

    def _show(self, tag: int) -> None:
        if self._updating:
            return
        self._updating = True
        for name, widget in self._bindings.get(tag, {}).items():
            _write_widget(widget, self.parameters[name].read(self.parameterNode, name))
        self._updating = False


def _changed_signal(widget: Any) -> Any:
    """As in Slicer, classes must be exactly these."""
    known = {qMRMLNodeComboBox: "currentNodeChanged", QT.QCheckBox: "toggled", QT.QSpinBox: "valueChanged"}
    return getattr(widget, known[type(widget)])


def _read_widget(widget: Any) -> Any:
    if type(widget) is qMRMLNodeComboBox:
        return widget.currentNode()
    return widget.checked if type(widget) is QT.QCheckBox else widget.value


def _write_widget(widget: Any, value: Any) -> None:
    if type(widget) is qMRMLNodeComboBox:
        widget.setCurrentNode(value)
    elif type(widget) is QT.QCheckBox:
        widget.checked = value
    else:
        widget.value = value
