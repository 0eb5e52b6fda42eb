"""Topology of a mask: how far a deformation tears or merges a structure, or opens or closes holes in it.

A mask is the cubical complex whose points are its voxels, joined to each other across faces (6 neighbours in 3D, 4 in
2D); the background is joined across corners too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from regcore.metrics.surface import bounding_box

_Mask = NDArray[np.bool_]
_Indices = NDArray[np.intp]


class TopologyChange(NamedTuple):
    """How much the warp changed the topology of labels, as means over them; nan without labels.

    Attributes:
        euler: of ``|chi(warped) - chi(before)|``, chi the Euler number. Called "TC (Euler)" in tables: CAML
            (Intelligent Data Analysis 2024) reports a topology change without a formula, so this one is ours.
        components: of the change in the number of connected components (the Betti number b0), without sign.
    """

    euler: float
    components: float


def topology_change(
    moving_labels: Tensor, warped_labels: Tensor, labels: Sequence[int] | None = None
) -> TopologyChange:
    """Return how much a warp changed the Euler number and the number of components of the labels.

    Args:
        moving_labels: ``(*shape)``, integers, before the deformation.
        warped_labels: ``(*shape)``, integers, after it; nearest neighbour interpolation invents no label.
        labels: which ones; by default all but 0. Those found in neither map are left out.

    Raises:
        ValueError: the shapes differ, or a map holds fractions.
    """
    if moving_labels.shape != warped_labels.shape:
        shapes = f"{tuple(moving_labels.shape)} and {tuple(warped_labels.shape)}"
        raise ValueError(f"warped_labels: expected the shape of moving_labels, got {shapes}; bring both onto one grid")
    maps = {"moving_labels": moving_labels, "warped_labels": warped_labels}
    for name, data in maps.items():
        _check_whole(name, data)
    found = {label for data in maps.values() for label in np.unique(data.cpu().numpy()).tolist()}
    wanted = found - {0} if labels is None else found & {int(label) for label in labels}
    if not wanted:
        return TopologyChange(float("nan"), float("nan"))
    changes = []
    for label in sorted(wanted):
        before, after = (_cut_out(data == label) for data in maps.values())
        changes.append((abs(_euler(after) - _euler(before)), abs(_components(after) - _components(before))))
    euler, components = np.mean(changes, axis=0).tolist()
    return TopologyChange(euler, components)


def euler_number(mask: Tensor) -> int:
    """Return voxels - pairs of face neighbours + full 2x2 squares - full 2x2x2 cubes.

    In 2D that is the number of components less that of holes; in 3D components less tunnels plus cavities.

    Args:
        mask: ``(*shape)``, booleans or integers; voxels that are not 0 count.

    Raises:
        ValueError: the mask holds fractions.

    Reference:
        Kong and Rosenfeld, "Digital topology: introduction and survey", CVGIP 1989.
    """
    _check_whole("mask", mask)
    return _euler(_cut_out(mask != 0))


def count_components(mask: Tensor) -> int:
    """Return the number of parts that are connected across faces.

    Args:
        mask: ``(*shape)``, booleans or integers; voxels that are not 0 count.

    Raises:
        ValueError: the mask holds fractions.
    """
    _check_whole("mask", mask)
    return _components(_cut_out(mask != 0))


def _check_whole(name: str, data: Tensor) -> None:
    if data.is_floating_point() or data.is_complex():
        raise ValueError(f"{name}: expected booleans or integers, got {data.dtype}; round them first")


def _cut_out(inside: Tensor) -> _Mask:
    box = bounding_box(inside)
    cut = inside.new_empty((0,) * inside.ndim) if box is None else inside[box]
    return np.ascontiguousarray(cut.cpu().numpy())


def _euler(mask: _Mask, first_axis: int = 0) -> int:
    """Count cells with alternating signs: those of ``mask`` and all that grow from them along the axes left."""
    total = int(np.count_nonzero(mask))
    for axis in range(first_axis, mask.ndim):
        along = np.moveaxis(mask, axis, 0)
        total -= _euler(np.moveaxis(along[1:] & along[:-1], 0, axis), axis + 1)
    return total


def _components(mask: _Mask) -> int:
    """Count the trees of a union-find whose nodes are the runs of voxels along the last axis."""
    begins = mask.copy()
    begins[..., 1:] &= ~mask[..., :-1]
    runs = np.cumsum(begins.reshape(-1), dtype=np.int32).reshape(mask.shape) - 1
    pairs = []
    for axis in range(mask.ndim - 1):
        here, there = np.moveaxis(mask, axis, 0)[1:], np.moveaxis(mask, axis, 0)[:-1]
        touch = here & there
        # Runs that touch in several voxels are joined once, in the first.
        touch[..., 1:] &= ~touch[..., :-1].copy()
        numbers = np.moveaxis(runs, axis, 0)
        pairs.append(np.stack([numbers[1:][touch], numbers[:-1][touch]]))
    edges = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0), dtype=np.int32)
    return _count_trees(int(np.count_nonzero(begins)), edges.astype(np.intp))


def _count_trees(nodes: int, edges: _Indices) -> int:
    """Return how many connected parts ``edges`` ``(2, E)`` leave of ``nodes`` nodes."""
    parent = np.arange(nodes)
    while True:
        roots = parent[edges]
        edges = roots[:, roots[0] != roots[1]]
        if edges.shape[1] == 0:
            return int(np.count_nonzero(parent == np.arange(nodes)))
        # Each root goes below its lowest neighbour, so no ring can close; then all nodes point at their roots.
        np.minimum.at(parent, edges.max(axis=0), edges.min(axis=0))
        while not np.array_equal(parent, above := parent[parent]):
            parent = above
