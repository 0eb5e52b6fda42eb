"""Segmentations, markups and models brought along by a transform."""

from __future__ import annotations

from collections.abc import Sequence

from AttentionRegistrationLib import nodes
from AttentionRegistrationLib.request import Node


def carry(carried: Sequence[Node], transform: Node, copies: bool = True) -> list[Node]:
    """Put nodes, or copies of them, under a transform; nothing is hardened.

    A node that is under a linear transform already keeps its place: between it and ``transform`` comes a new transform
    node with that place's matrix, so that the user's own transforms and what else is under them stay as they are.

    Args:
        carried: nodes in the space of the moving volume.
        transform: from moving to fixed, in the same scene.
        copies: leave the nodes themselves as they are.

    Returns:
        The nodes that are now under the transform.

    Raises:
        ValueError: a node is under a transform that is not linear; nothing has been changed.
    """
    waiting = [node for node in carried if not nodes.is_above(transform, node)]
    places = [nodes.world_matrix(node, "carry") for node in waiting]
    between: dict[str, Node] = {}
    moved = []
    for node, place in zip(waiting, places, strict=True):
        parent, above = node.GetParentTransformNode(), transform
        if parent is not None:
            above = between.get(parent.GetID()) or _between(parent, place, transform)
            between[parent.GetID()] = above
        target = _copy(node) if copies else node
        target.SetAndObserveTransformNodeID(above.GetID())
        moved.append(target)
    return moved


def _between(parent: Node, place: nodes.Matrix, transform: Node) -> Node:
    made = transform.GetScene().AddNewNodeByClass("vtkMRMLLinearTransformNode", f"{parent.GetName()} carried")
    made.SetMatrixTransformToParent(nodes.to_vtk(place))
    made.SetAndObserveTransformNodeID(transform.GetID())
    return made


def _copy(node: Node) -> Node:
    made = _same(node, f"{node.GetName()} registered")
    for number in range(node.GetNumberOfDisplayNodes()):
        shown = node.GetNthDisplayNode(number)
        display = _same(shown, shown.GetName())
        if shown.GetColorNodeID():
            display.SetAndObserveColorNodeID(shown.GetColorNodeID())
        made.AddAndObserveDisplayNodeID(display.GetID())
    return made


def _same(node: Node, name: str) -> Node:
    """Add a node with the same content and no references to the scene."""
    scene = node.GetScene()
    made = scene.CreateNodeByClass(node.GetClassName())
    made.UnRegister(None)
    made.CopyContent(node, True)
    made.SetName(name)
    return scene.AddNode(made)
