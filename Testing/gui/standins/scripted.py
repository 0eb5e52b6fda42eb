"""Stand-ins for slicer.ScriptedLoadableModule, slicer.i18n and slicer.testing: the bases of a scripted module."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any

import slicer


def tr(text: str) -> str:
    """Translate nothing."""
    return text


def translate(context: str, text: str) -> str:
    """Translate nothing."""
    return text


class ScriptedLoadableModule:
    """What Slicer lists: title, help and icon are set on the parent."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, name: str) -> str:  # noqa: N802
        """Return the path of a file under Resources."""
        return str(Path(self.parent.path).parent / "Resources" / name)


class ScriptedLoadableModuleWidget:
    """The panel: its parent is made by Slicer."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()
        self.developerMode = False

    def resourcePath(self, name: str) -> str:  # noqa: N802
        """Return the path of a file under Resources."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        """Would add Slicer's developer section."""

    def cleanup(self) -> None:
        """Is called before the module goes."""

    def onReload(self) -> None:  # noqa: N802
        """Would load the module's file again."""


class ScriptedLoadableModuleLogic:
    """Has one parameter node in the scene."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:  # noqa: N802
        """Return the scene's parameter node; made if absent."""
        found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        node = found or slicer.mrmlScene.AddNode(self._made())
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def _made(self) -> slicer.vtkMRMLScriptedModuleNode:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetName(self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The self test."""

    def delayDisplay(self, message: str, *_: Any) -> None:  # noqa: N802
        """Show nothing."""

    def runTest(self) -> None:  # noqa: N802
        """Run nothing of its own."""
