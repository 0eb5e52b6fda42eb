"""Results that can be taken out of the scene and put back: undo and redo of registrations."""

from __future__ import annotations

from dataclasses import dataclass, field

import slicer
import vtk

from AttentionRegistrationLib.request import Node

VERDICT = "AttentionRegistration.Verdict"
ACCEPTED = "accepted"


@dataclass
class Result:
    """The nodes of one registration.

    Attributes:
        fixed: the volume it was for.
        moving: the volume it was for.
        transform: of the moving volume.
        warped: the moving volume on the fixed grid.
        jacobian: local volume change; None: not asked for.
        table: figures; None: there are none.
    """

    fixed: Node
    moving: Node
    transform: Node
    warped: Node
    jacobian: Node = None
    table: Node = None
    _removed: _Removed | None = field(default=None, repr=False)

    @property
    def accepted(self) -> bool:
        """Whether somebody has said that it is good."""
        return bool(self.transform.GetAttribute(VERDICT) == ACCEPTED)

    def accept(self) -> None:
        """Mark it, so that the mark is saved with the scene."""
        self.transform.SetAttribute(VERDICT, ACCEPTED)

    @property
    def in_scene(self) -> bool:
        """Whether what is needed to look at it is in the scene."""
        return all(
            node is not None and node.GetScene() is not None for node in (self.fixed, self.transform, self.warped)
        )

    def remove(self) -> None:
        """Take it out of the scene, with all that lies in its folder."""
        nodes = [node for node in (self.transform, self.warped, self.jacobian, self.table) if node is not None]
        self._removed = _Removed(nodes, self.transform)

    def restore(self) -> None:
        """Put it back."""
        if self._removed is not None:
            self._removed.restore()
        self._removed = None


class _Removed:
    """Nodes that were taken out of the scene, and what is needed to put them back."""

    def __init__(self, nodes: list[Node], transform: Node) -> None:
        hierarchy = _hierarchy()
        folder = _folder(hierarchy, transform)
        self._name = hierarchy.GetItemName(folder) if folder else ""
        self._parent = hierarchy.GetItemParent(folder) if folder else 0
        inside = _children(hierarchy, folder) if folder else []
        self._nodes = nodes + [node for node in inside if node not in nodes]
        self._under = [node for node in _transformable() if node.GetTransformNodeID() == transform.GetID()]
        self._transform = transform
        self._displays = [_displays(node) for node in self._nodes]
        for node, displays in zip(self._nodes, self._displays, strict=True):
            for one in (node, *displays):
                slicer.mrmlScene.RemoveNode(one)
        if folder:
            hierarchy.RemoveItem(folder)

    def restore(self) -> None:
        hierarchy = _hierarchy()
        parent = self._parent if hierarchy.GetItemName(self._parent) else hierarchy.GetSceneItemID()
        folder = hierarchy.CreateFolderItem(parent, self._name) if self._name else 0
        for node, displays in zip(self._nodes, self._displays, strict=True):
            for display in displays:
                slicer.mrmlScene.AddNode(display)
            slicer.mrmlScene.AddNode(node)
            for display in displays:
                node.SetAndObserveDisplayNodeID(display.GetID())
            if folder:
                item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(folder, node)
                hierarchy.SetItemParent(item, folder)
        for node in self._under:
            if node.GetScene() is not None:
                node.SetAndObserveTransformNodeID(self._transform.GetID())


def _hierarchy() -> Node:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def _folder(hierarchy: Node, transform: Node) -> int:
    """Return the item of the folder that holds a result; 0: it lies in none."""
    item = hierarchy.GetItemByDataNode(transform)
    parent = hierarchy.GetItemParent(item) if item else 0
    return 0 if parent in (0, hierarchy.GetSceneItemID()) else int(parent)


def _children(hierarchy: Node, folder: int) -> list[Node]:
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(folder, items, True)
    nodes = [hierarchy.GetItemDataNode(items.GetId(index)) for index in range(items.GetNumberOfIds())]
    return [node for node in nodes if node is not None]


def _transformable() -> list[Node]:
    found = slicer.mrmlScene.GetNodesByClass("vtkMRMLTransformableNode")
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]


def _displays(node: Node) -> list[Node]:
    if not node.IsA("vtkMRMLDisplayableNode"):
        return []
    return [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
