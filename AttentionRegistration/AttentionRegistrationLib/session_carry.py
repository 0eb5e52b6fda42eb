"""What an accepted result moves into the ultrasound's space: copies of targets, gland and model, never hardened."""

from __future__ import annotations

from typing import Any

import vtk

from AttentionRegistrationLib import nodes, nodes_display
from AttentionRegistrationLib.nodes_carry import carry
from AttentionRegistrationLib.request import Node
from AttentionRegistrationLib.session_state import GLAND, MODEL, TARGETS, State

CARRIED = (TARGETS, GLAND, MODEL)
_SOURCE = "AttentionRegistration.CopyOf"


def move(state: State, transform: Node) -> None:
    """Put the copies, made where there are none, under this transform; None: remove them.

    What else somebody has put under the transform of before goes with them.

    Raises:
        ValueError: a node is under a transform that is not linear; nothing has been changed.
    """
    if transform is None:
        _remove(state)
        return
    for role in CARRIED:
        if state.get(role) is not None:
            nodes.world_matrix(state.get(role), role)
    before = state.carrier
    if before is not None and before is not transform:
        for node in _transformable(state.scene):
            if node.GetTransformNodeID() == before.GetID():
                node.SetAndObserveTransformNodeID(transform.GetID())
    state.carrier = transform
    for role in CARRIED:
        source, copy = state.get(role), copy_of(state, role)
        if copy is not None and (source is None or copy.GetAttribute(_SOURCE) != source.GetID()):
            _drop(state, copy)
            copy = None
        if source is not None and copy is None:
            _make(state, role, source, transform)
        elif source is not None:
            _refresh(source, copy)


def follow(state: State) -> None:
    """Bring the copies of targets up to date where somebody has moved or added one."""
    source, copy = state.get(TARGETS), copy_of(state, TARGETS)
    if source is not None and copy is not None and _points(source) != _points(copy):
        _refresh(source, copy)


def copy_of(state: State, role: str) -> Node:
    """Return what lies in the ultrasound's space for a role; None: nothing."""
    return state.get(f"{role}Copy")


def _make(state: State, role: str, source: Node, transform: Node) -> None:
    (copy,) = carry([source], transform)
    copy.SetName(f"{source.GetName()} in ultrasound")
    _mark(copy, source)
    state.choose(f"{role}Copy", copy)


def _refresh(source: Node, copy: Node) -> None:
    name = copy.GetName()
    copy.CopyContent(source, True)
    copy.SetName(name)
    _mark(copy, source)


def _points(markups: Node) -> list[tuple[str, tuple[float, ...]]]:
    # Asked of the points: the time of the node's last change leaves them out.
    numbers = range(markups.GetNumberOfControlPoints())
    return [(markups.GetNthControlPointLabel(n), tuple(markups.GetNthControlPointPosition(n))) for n in numbers]


def _mark(copy: Node, source: Node) -> None:
    copy.SetAttribute(_SOURCE, source.GetID())
    if copy.IsA("vtkMRMLMarkupsNode"):
        copy.SetLocked(True)  # what is moved here would be lost


def _remove(state: State) -> None:
    for role in CARRIED:
        copy = copy_of(state, role)
        if copy is not None:
            _drop(state, copy)
    state.carrier = None


def _drop(state: State, copy: Node) -> None:
    """Remove a copy, its looks, and the transform that was made to keep its place."""
    above = copy.GetParentTransformNode()
    remove(state.scene, copy)
    if above is not None and above is not state.carrier and above.GetParentTransformNode() is state.carrier:
        _remove_if_empty(state, above)


def _remove_if_empty(state: State, above: Node) -> None:
    if all(node.GetTransformNodeID() != above.GetID() for node in _transformable(state.scene)):
        state.scene.RemoveNode(above)


def _transformable(scene: Any) -> list[Node]:
    found = scene.GetNodesByClass("vtkMRMLTransformableNode")
    found.UnRegister(scene)
    return [found.GetItemAsObject(number) for number in range(found.GetNumberOfItems())]


def remove(scene: Any, node: Node) -> None:
    """Take a node and its displays out of the scene."""
    displays = []
    if node.IsA("vtkMRMLDisplayableNode"):
        displays = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    for one in (node, *displays):
        if one is not None:
            scene.RemoveNode(one)


def remove_result(state: State, number: int) -> None:
    """Take a registration's own nodes out of the scene, and their folder where nothing else lies in it."""
    everything = state.nodes(number).everything
    hierarchy = nodes_display.hierarchy_of(state.scene)
    items = [hierarchy.GetItemByDataNode(node) for node in everything]
    folders = {hierarchy.GetItemParent(item) for item in items if item} - {0, hierarchy.GetSceneItemID()}
    for item, node in zip(items, everything, strict=True):
        if item:
            hierarchy.RemoveItem(item, False, False)
        remove(state.scene, node)
    state.forget(number)
    for folder in folders:
        left = vtk.vtkIdList()
        hierarchy.GetItemChildren(folder, left, False)
        if not left.GetNumberOfIds() and hierarchy.GetItemDataNode(folder) is None:
            hierarchy.RemoveItem(folder)
