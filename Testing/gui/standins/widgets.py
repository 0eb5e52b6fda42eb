"""Stand-ins for ctkCollapsibleButton, qMRMLWidget and qMRMLNodeComboBox: the parts of them that panels use."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import MODULE as QT
from .pythonqt import QUiLoader


class ctkCollapsibleButton(QT.QAbstractButton):  # noqa: N801
    """A heading that shows and hides what lies under it."""

    contentsCollapsed = QtCore.Signal(bool)  # noqa: N815

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.clicked.connect(lambda: self.setCollapsed(not self._collapsed))
        self._place()

    def _is_collapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:  # noqa: N802
        """Hide the contents, or show them."""
        self._collapsed = collapsed
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not collapsed)
        self.setMaximumHeight(self._heading() if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)
        self.updateGeometry()

    collapsed = QtCore.Property(bool, _is_collapsed, setCollapsed)

    def childEvent(self, event: QtCore.QChildEvent) -> None:  # noqa: N802
        """Hide what is added to a collapsed heading."""
        if self._collapsed and event.added() and isinstance(event.child(), QtWidgets.QWidget):
            event.child().hide()

    def _heading(self) -> int:
        return self.fontMetrics().height() + 10

    def _place(self) -> None:
        self.setContentsMargins(0, self._heading(), 0, 0)

    def sizeHint(self) -> QtCore.QSize:  # noqa: N802
        """Room for the heading, and for the contents if they are shown."""
        wide = self.fontMetrics().horizontalAdvance(self.text) + 40
        if self._collapsed or not self.layout():
            return QtCore.QSize(wide, self._heading())
        inside, now = self.layout().totalSizeHint(), QtWidgets.QWidget.width(self)
        high = self.layout().totalHeightForWidth(now) if self.layout().hasHeightForWidth() else 0
        return QtCore.QSize(max(wide, inside.width()), max(high, inside.height()))

    minimumSizeHint = sizeHint  # noqa: N815

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802
        """Draw an arrow and the text."""
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), self._heading())
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, (self._heading() - 10) // 2, 10, 10)
        direction = "PE_IndicatorArrowRight" if self._collapsed else "PE_IndicatorArrowDown"
        painter.drawPrimitive(getattr(QtWidgets.QStyle.PrimitiveElement, direction), arrow)
        flags = QtCore.Qt.AlignmentFlag.AlignVCenter.value | QtCore.Qt.TextFlag.TextShowMnemonic.value
        painter.drawText(option.rect.adjusted(26, 0, 0, 0), flags, self.text)
        if self.hasFocus():
            focus = QtWidgets.QStyleOptionFocusRect()
            focus.initFrom(self)
            focus.rect = option.rect.adjusted(3, 3, -3, -3)
            painter.drawPrimitive(QtWidgets.QStyle.PrimitiveElement.PE_FrameFocusRect, focus)

    def hitButton(self, position: QtCore.QPoint) -> bool:  # noqa: N802
        """Only the heading takes clicks."""
        return position.y() <= self._heading()


class qMRMLWidget(QT.QWidget):  # noqa: N801
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)  # noqa: N815

    def setMRMLScene(self, scene: slicer.vtkMRMLScene) -> None:  # noqa: N802
        """Hand the scene on."""
        self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QT.QWidget):  # noqa: N801
    """A menu of the scene's nodes of some classes."""

    currentNodeChanged = QtCore.Signal(object)  # noqa: N815
    connect = QT.QWidget.connect  # PySide looks for it in the class itself
    _EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._types: list[str] = []
        self._settings: dict[str, Any] = {"noneEnabled": False, "noneDisplay": "None"}
        self._scene: slicer.vtkMRMLScene | None = None
        self._node: slicer.vtkMRMLNode | None = None
        self._requested: str | None = None
        self._tags: list[int] = []
        self.box = QtWidgets.QComboBox()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.box.currentIndexChanged.connect(self._chosen)

    def _get_types(self) -> list[str]:
        return self._types

    def _set_types(self, types: list[str]) -> None:
        self._types = [name for name in types if name]
        self._fill()

    nodeTypes = QtCore.Property("QStringList", _get_types, _set_types)  # noqa: N815

    def _setting(kind: Any, name: str) -> Any:  # noqa: N805
        def write(self: qMRMLNodeComboBox, value: Any) -> None:
            self._settings[name] = value
            self._fill()

        return QtCore.Property(kind, lambda self: self._settings.get(name, False), write)

    noneEnabled = _setting(bool, "noneEnabled")  # noqa: N815
    noneDisplay = _setting(str, "noneDisplay")  # noqa: N815
    addEnabled = _setting(bool, "addEnabled")  # noqa: N815
    removeEnabled = _setting(bool, "removeEnabled")  # noqa: N815
    editEnabled = _setting(bool, "editEnabled")  # noqa: N815
    renameEnabled = _setting(bool, "renameEnabled")  # noqa: N815
    selectNodeUponCreation = _setting(bool, "selectNodeUponCreation")  # noqa: N815
    showChildNodeTypes = _setting(bool, "showChildNodeTypes")  # noqa: N815

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:  # noqa: N802
        """Show the nodes of this scene."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        events = [getattr(slicer.vtkMRMLScene, name) for name in self._EVENTS] if scene else []
        self._tags = [scene.AddObserver(event, self._refresh) for event in events]
        self._fill()

    def currentNode(self) -> slicer.vtkMRMLNode | None:  # noqa: N802
        """Return the chosen node."""
        return self._node

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:  # noqa: N802
        """Choose a node, as soon as it is in the menu: while a scene is loaded it is not."""
        found = self.box.findData(node.GetID()) if node else -1
        self._requested = node.GetID() if node and found < 0 else None
        self.box.setCurrentIndex(found if found >= 0 else (0 if self.noneEnabled else -1))

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        found = [self._scene.GetNodesByClass(name) for name in self._types] if self._scene else []
        nodes = [group.GetItemAsObject(index) for group in found for index in range(group.GetNumberOfItems())]
        deeper = self.showChildNodeTypes
        listed = [node for node in nodes if deeper or node.GetClassName() in self._types]
        return [node for node in listed if not node.GetHideFromEditors()]

    def _refresh(self, caller: Any, event: str) -> None:
        if not self._scene.IsBatchProcessing():
            self._fill()

    def _fill(self) -> None:
        """Rebuild the menu; what was chosen stays chosen if it is still there."""
        before = self._requested or (self._node.GetID() if self._node and self._node.GetScene() else None)
        self.box.blockSignals(True)
        self.box.clear()
        if self.noneEnabled:
            self.box.addItem(self.noneDisplay, None)
        for node in self._nodes():
            self.box.addItem(node.GetName(), node.GetID())
        found = self.box.findData(before) if before else -1
        self._requested = None if found >= 0 else self._requested
        self.box.setCurrentIndex(max(found, 0) if self.box.count() else -1)
        self.box.blockSignals(False)
        self._chosen()

    def _chosen(self) -> None:
        chosen = self.box.currentData()
        node = self._scene.GetNodeByID(chosen) if self._scene and chosen else None
        if node is not self._node:
            self._node = node
            self.currentNodeChanged.emit(node)


QUiLoader.custom |= {kind.__name__: kind for kind in (ctkCollapsibleButton, qMRMLWidget, qMRMLNodeComboBox)}
