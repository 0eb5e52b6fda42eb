"""PySide6 made to look as PythonQt shows Qt to Slicer's modules: properties are attributes, signals take strings."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from xml.etree import ElementTree

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

# Virtual or overloaded in C++: as attributes they would hide what Qt itself calls.
_METHODS = {"sizeHint", "minimumSizeHint", "size", "pos", "rect", "locale", "layoutDirection"}


def pythonqt_class(base: type[QtCore.QObject]) -> type:
    """Derive a class whose Qt properties are attributes and whose `connect` takes ``"signal(arguments)"``."""
    described = base.staticMetaObject
    names = {described.property(index).name() for index in range(described.propertyCount())} - _METHODS
    members: dict[str, Any] = {name: _attribute(name) for name in names}
    members |= {"name": _attribute("objectName"), "connect": _connect, "disconnect": _disconnect}
    members |= {"findChildren": _find_children, "className": lambda self: base.__name__, "pythonqt_base": base}
    return type(base.__name__, (base,), members)


def _attribute(name: str) -> property:
    def write(self: QtCore.QObject, value: Any) -> None:
        if not self.setProperty(name, value):
            raise AttributeError(f"{type(self).__name__}.{name} does not take {value!r}")

    return property(lambda self: self.property(name), write)


def _signal(sender: QtCore.QObject, signature: str) -> QtCore.SignalInstance:
    name, _, arguments = signature.rstrip(")").partition("(")
    signal = getattr(sender, name, None)
    if not isinstance(signal, QtCore.SignalInstance):
        raise ValueError(f"{type(sender).__name__} has no signal {signature}")
    known = [bytes(m.methodSignature()).decode() for m in _signals(sender) if bytes(m.name()).decode() == name]
    if f"{name}({arguments})" not in known and "PyObject" not in "".join(known):
        raise ValueError(f"{type(sender).__name__} has no signal {signature}, but {', '.join(known)}")
    return signal


def _signals(sender: QtCore.QObject) -> Iterator[QtCore.QMetaMethod]:
    described = sender.metaObject()
    methods = (described.method(index) for index in range(described.methodCount()))
    return (method for method in methods if method.methodType() == QtCore.QMetaMethod.MethodType.Signal)


def _connect(self: QtCore.QObject, signature: str, slot: Callable[..., Any]) -> bool:
    _signal(self, signature).connect(slot)
    return True


def _disconnect(self: QtCore.QObject, signature: str, slot: Callable[..., Any]) -> bool:
    _signal(self, signature).disconnect(slot)
    return True


def _find_children(self: QtCore.QObject, kind: type, *name: str) -> list[QtCore.QObject]:
    return QtCore.QObject.findChildren(self, vars(kind).get("pythonqt_base", kind), *name)


class QUiLoader(QtUiTools.QUiLoader):
    """Reads .ui files into stand-ins, and makes the connections to classes that Qt does not know."""

    custom: ClassVar[dict[str, type]] = {}  # filled in by those who define widgets

    def createWidget(self, kind: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> QtWidgets.QWidget:  # noqa: N802
        """Make a stand-in for the class named in the file."""
        made = (self.custom.get(kind) or getattr(MODULE, kind))(parent)
        made.setObjectName(name)
        return made

    def load(self, file: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        """Read the file, without its connections first."""
        root = ElementTree.fromstring(bytes(file.readAll().data()))
        described = root.find("connections")
        connections = list(described) if described is not None else []
        if described is not None:
            root.remove(described)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        made = super().load(buffer, parent)
        if made is None:
            raise RuntimeError(self.errorString())
        for connection in connections:
            _make_connection(made, *(connection.findtext(key, "") for key in ("sender", "signal", "receiver", "slot")))
        return made


def _make_connection(top: QtWidgets.QWidget, sender: str, signal: str, receiver: str, slot: str) -> None:
    widgets = [top, *top.findChildren(QtWidgets.QWidget)]
    ends = {widget.property("objectName"): widget for widget in widgets}
    _signal(ends[sender], signal).connect(getattr(ends[receiver], slot.partition("(")[0]))


def _build() -> types.ModuleType:
    """The module `qt`: QtCore, QtGui and QtWidgets in one namespace."""
    module = types.ModuleType("qt")
    for part in (QtCore, QtGui, QtWidgets):
        for name in dir(part):
            found = getattr(part, name)
            if isinstance(found, type) and issubclass(found, QtCore.QObject) and found not in (QtCore.QObject,):
                found = _lazily(found)
            if not name.startswith("_"):
                setattr(module, name, found)
    module.QUiLoader = QUiLoader  # type: ignore[attr-defined]
    return module


def _lazily(base: type[QtCore.QObject]) -> type:
    """Applications, event loops and the like stay as they are."""
    plain = (QtCore.QCoreApplication, QtCore.QAbstractItemModel, QtCore.QThread, QtCore.QIODevice)
    return base if issubclass(base, plain) else pythonqt_class(base)


MODULE = _build()
