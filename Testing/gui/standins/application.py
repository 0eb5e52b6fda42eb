"""Puts the stand-ins where a module expects Slicer, and takes them away again."""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from . import parameters, scripted, widgets
from .pythonqt import MODULE as QT

_SLICES = ("Red", "Yellow", "Green")


class Application(QtCore.QObject):
    """The part of ``slicer.app`` that a panel uses."""

    startupCompleted = QtCore.Signal()  # noqa: N815

    def __init__(self) -> None:
        super().__init__()
        self.logic = slicer.vtkSlicerApplicationLogic()

    def connect(self, signature: str, slot: Any) -> bool:
        """Connect in PythonQt's way."""
        getattr(self, signature.partition("(")[0]).connect(slot)
        return True

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:  # noqa: N802
        """Return the logic that owns the views."""
        return self.logic

    def moduleManager(self) -> Application:  # noqa: N802
        """Return something to connect to."""
        return self

    moduleAboutToBeUnloaded = QtCore.Signal(str)  # noqa: N815

    def disconnect(self, signature: str, slot: Any) -> bool:
        """Disconnect in PythonQt's way."""
        getattr(self, signature.partition("(")[0]).disconnect(slot)
        return True

    def testingEnabled(self) -> bool:  # noqa: N802
        """Show no message boxes."""
        return True

    def processEvents(self) -> None:  # noqa: N802
        """Let Qt work."""
        QtWidgets.QApplication.processEvents()


class Installed:
    """What was changed, so that it can be undone."""

    def __init__(self) -> None:
        self._modules: dict[str, types.ModuleType | None] = {}
        self._attributes: dict[str, Any] = {}
        self._path = list(sys.path)

    def module(self, name: str, module: types.ModuleType) -> None:
        """Make a module importable."""
        self._modules.setdefault(name, sys.modules.get(name))
        sys.modules[name] = module

    def attribute(self, name: str, value: Any) -> None:
        """Set an attribute of the package slicer."""
        self._attributes.setdefault(name, getattr(slicer, name, None))
        setattr(slicer, name, value)

    def undo(self) -> None:
        """Leave everything as it was."""
        for name, module in self._modules.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
        for name, value in self._attributes.items():
            if value is None:
                delattr(slicer, name)
            else:
                setattr(slicer, name, value)
        sys.path[:] = self._path


def install(module_file: Path) -> Installed:
    """Prepare for a scripted module.

    If the environment variable SLICER_PY names Slicer's own folder Base/Python, its module bases and its
    parameterNodeWrapper are used in the place of ours.

    Args:
        module_file: the module's Python file.
    """
    QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    done = Installed()
    ctk = types.ModuleType("ctk")
    ctk.ctkCollapsibleButton = widgets.ctkCollapsibleButton  # type: ignore[attr-defined]
    for name in ("ctkSliderWidget", "ctkPathLineEdit", "ctkDirectoryButton", "ctkRangeWidget", "ctkCheckBox"):
        setattr(ctk, name, type(name, (), {}))  # Slicer's connectors compare types with them
    done.module("qt", QT)
    done.module("ctk", ctk)
    for kind in (widgets.qMRMLWidget, widgets.qMRMLNodeComboBox):
        done.attribute(kind.__name__, kind)
    done.attribute("app", Application())
    name = module_file.stem
    done.attribute("modules", types.SimpleNamespace(**{name.lower(): types.SimpleNamespace(path=str(module_file))}))
    if os.environ.get("SLICER_PY"):
        _install_slicers_own(done, Path(os.environ["SLICER_PY"]))
    else:
        _install_ours(done)
    sys.path.insert(0, str(module_file.parent))
    return done


def new_scene(done: Installed) -> slicer.vtkMRMLScene:
    """Give Slicer an empty scene with three slice views."""
    scene = slicer.vtkMRMLScene()
    done.attribute("mrmlScene", scene)
    slicer.app.logic.SetMRMLScene(scene)
    for name in _SLICES:
        view = slicer.vtkMRMLSliceCompositeNode()
        view.SetSingletonTag(name)
        view.SetLayoutName(name)
        scene.AddNode(view)
    return scene


def _install_ours(done: Installed) -> None:
    ours: dict[str, dict[str, Any]] = {
        "ScriptedLoadableModule": vars(scripted),
        "i18n": {"tr": scripted.tr, "translate": scripted.translate},
        "parameterNodeWrapper": {name: getattr(parameters, name) for name in ("parameterNodeWrapper", "WithinRange")},
    }
    for name, content in ours.items():
        module = types.ModuleType(f"slicer.{name}")
        vars(module).update({key: value for key, value in content.items() if not key.startswith("__")})
        done.module(f"slicer.{name}", module)
        done.attribute(name, module)


def _install_slicers_own(done: Installed, folder: Path) -> None:
    """Import Slicer's files; what they import of its widgets and of translations is ours."""
    trees = types.ModuleType("qSlicerSubjectHierarchyModuleWidgetsPythonQt")
    trees.qMRMLSubjectHierarchyTreeView = type("qMRMLSubjectHierarchyTreeView", (), {})  # type: ignore[attr-defined]
    done.module(trees.__name__, trees)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = scripted.tr, scripted.translate  # type: ignore[attr-defined]
    done.module("slicer.i18n", i18n)
    slicer.__path__.append(str(folder / "slicer"))
    for name in ("ScriptedLoadableModule", "parameterNodeWrapper"):
        done.attribute(name, importlib.import_module(f"slicer.{name}"))
