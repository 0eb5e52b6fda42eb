"""The opened module, and somebody who uses it: mouse, keyboard, eyes."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
_APT = "apt-get install libegl1 libgl1 libxkbcommon0 libfontconfig1 libdbus-1-3 libglib2.0-0 fonts-dejavu-core"
pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed: pip install '.[test]'")
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError, reason=f"Qt needs libraries of the system: {_APT}")

import slicer  # noqa: E402
from PySide6 import QtCore, QtGui, QtWidgets  # noqa: E402, F401 - for the tests, which are skipped without Qt
from PySide6.QtTest import QTest  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
MODULE = PROJECT / "AttentionRegistration" / "AttentionRegistration.py"
SECTIONS = ("initialSection", "regionsSection", "modelSection", "outputsSection", "reviewSection", "logSection")
_WAIT_S = 20.0


class Bench:
    """The module's panel in a window, as Slicer shows it.

    Args:
        scene: Slicer's.
        worker: program of a pretended worker; None: the real one.
    """

    def __init__(self, scene: Any, worker: list[str] | None) -> None:
        import qt

        self.scene = scene
        module = importlib.import_module("AttentionRegistration")
        logic = importlib.import_module("AttentionRegistrationLib.logic")
        client = importlib.import_module("AttentionRegistrationLib.worker_client")
        make = logic.Logic if worker is None else lambda: logic.Logic(client.WorkerClient(worker))
        usual, module.Logic = module.Logic, make
        self.window = QtWidgets.QScrollArea()
        self.window.setWidgetResizable(True)
        self.window.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        self.window.setWidget(parent)
        self.window.resize(440, 760)
        try:
            self.widget = module.AttentionRegistrationWidget(parent)
            self.widget.setup()
        finally:
            module.Logic = usual
        self.widget.enter()
        self.ui = self.widget.ui
        self.window.show()
        self.window.activateWindow()
        QTest.qWaitForWindowActive(self.window)
        self.ui.presetBox.setFocus()
        self.look()

    @property
    def parameters(self) -> Any:
        """The panel's choices."""
        return self.widget.logic.getParameterNode()

    @property
    def worker(self) -> Any:
        """The client of the worker."""
        return self.widget.logic.engine._client

    @property
    def busy(self) -> bool:
        """Whether a registration is under way."""
        return bool(self.widget.logic.engine.busy)

    @property
    def sentence(self) -> str:
        """What stands under the button, without its tags."""
        return self.ui.sentence.text.replace("<b>", "").replace("</b>", "")

    def look(self) -> None:
        """Let Qt draw and answer."""
        QtWidgets.QApplication.processEvents()

    def wait(self, until: Callable[[], bool], seconds: float = _WAIT_S) -> None:
        """Wait for something to come true while the panel goes on."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"waited in vain; the panel says: {self.sentence}"
            QTest.qWait(10)

    def click(self, widget: Any) -> None:
        """Click with the mouse on something that is seen and enabled."""
        self.window.ensureWidgetVisible(widget)
        self.look()
        assert widget.isVisible()
        assert widget.isEnabled()
        where = QtCore.QPoint(12, 10) if isinstance(widget, QtWidgets.QCheckBox) else QtCore.QPoint()
        if type(widget).__name__ == "ctkCollapsibleButton":
            where = QtCore.QPoint(40, 8)
        QTest.mouseClick(widget, QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier, where)
        self.look()

    def open_section(self, name: str) -> None:
        """Click on a heading unless it is open."""
        if getattr(self.ui, name).collapsed:
            self.click(getattr(self.ui, name))

    def choose(self, widget: Any, text: str) -> None:
        """Choose from a menu with the keyboard."""
        box = getattr(widget, "box", widget)
        box.setFocus()
        found = QtWidgets.QComboBox.findText(box, text)
        assert found >= 0, f"no {text} in the menu"
        QTest.keyClick(box, QtCore.Qt.Key.Key_Home)
        for _ in range(found):
            QTest.keyClick(box, QtCore.Qt.Key.Key_Down)
        assert QtWidgets.QComboBox.currentText(box) == text
        self.look()

    def choose_volumes(self, fixed: str = "Fixed", moving: str = "Moving") -> None:
        """Choose both volumes."""
        self.choose(self.ui.fixedBox, fixed)
        self.choose(self.ui.movingBox, moving)

    def register(self) -> None:
        """Click Register and wait for the end."""
        self.click(self.ui.registerButton)
        assert self.busy
        self.wait(lambda: not self.busy)

    def names(self, kind: str = "vtkMRMLVolumeNode") -> list[str]:
        """Names of the nodes of a class."""
        return [node.GetName() for node in self.nodes(kind)]

    def nodes(self, kind: str) -> list[Any]:
        """Nodes of a class."""
        found = self.scene.GetNodesByClass(kind)
        return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]

    def views(self) -> list[Any]:
        """What the slice views show."""
        return self.nodes("vtkMRMLSliceCompositeNode")

    def picture(self, path: Path) -> None:
        """Write a picture of the whole panel, as high as it is."""
        self.window.resize(440, 300)
        for _ in range(4):
            self.look()
            high = QtWidgets.QWidget.height(self.window) + self.window.verticalScrollBar().maximum()
            self.window.resize(440, high)
        assert self.window.grab().save(str(path))

    def close(self) -> None:
        """Leave the module and end its worker."""
        self.widget.cleanup()
        for child in self.window.widget().findChildren(slicer.qMRMLNodeComboBox):
            child.setMRMLScene(None)
        self.window.close()
        self.window.deleteLater()
        self.look()


def add_ball(name: str, shift_mm: float = 0.0, size: int = 24, spacing_mm: float = 3.0) -> Any:
    """Add a volume with a soft ball and some texture, moved along R."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetSpacing(spacing_mm, spacing_mm, spacing_mm)
    middle = (size - 1) / 2
    k, j, i = (np.indices((size, size, size)) - middle) * spacing_mm
    i = i - shift_mm
    inside = 1 / (1 + np.exp((np.sqrt(i**2 + j**2 + k**2) - 0.3 * size * spacing_mm) / 2))
    texture = 1 + 0.3 * np.sin(i / 5) * np.cos(j / 6) * np.sin(k / 7)
    node.SetOrigin(*(-middle * spacing_mm for _ in range(3)))
    slicer.util.updateVolumeFromArray(node, (500 * inside * texture).astype(np.int16))
    node.CreateDefaultDisplayNodes()
    return node
