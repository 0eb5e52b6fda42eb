"""Distances between the surfaces of two label maps, in mm.

Definitions. The surface voxels of a label are those with a face neighbour of another value; the edge of the volume
counts as another value. A directed set of distances is, for each surface voxel of one map, the distance of its centre
to the nearest surface voxel's centre in the other map. HD95 is the larger of the 95th percentiles of the two directed
sets (linear between ranks); ASSD is the mean of the two directed means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from regcore.metrics.overlap import check_pair

_Indices = NDArray[np.int64]


class SurfaceDistances(NamedTuple):
    """Distances per label (mm); nan for a label missing from either map."""

    hd95: dict[int, float]
    assd: dict[int, float]


def surface_distances(
    fixed_labels: Tensor, warped_labels: Tensor, spacing: Sequence[float], labels: Sequence[int] | None = None
) -> SurfaceDistances:
    """Return HD95 and ASSD of each label; see the module for their definitions.

    Args:
        fixed_labels: ``(*shape)``, integers.
        warped_labels: ``(*shape)``, integers.
        spacing: of both, in the order of `Grid.spacing`: x, y, z (mm).
        labels: which ones; by default all found in either map except 0.

    Raises:
        ValueError: the shapes or dimensions differ, or a map holds fractions.
    """
    check_pair(fixed_labels, warped_labels)
    if len(spacing) != fixed_labels.ndim:
        raise ValueError(f"spacing: expected {fixed_labels.ndim} numbers (mm), got {len(spacing)}")
    fixed, warped = _surfaces(fixed_labels.numpy()), _surfaces(warped_labels.numpy())
    wanted = sorted((fixed.keys() | warped.keys()) - {0}) if labels is None else [int(label) for label in labels]
    steps = np.asarray(spacing[::-1], dtype=np.float64)
    result = SurfaceDistances({}, {})
    for label in wanted:
        both = label in fixed and label in warped
        figures = _distances(fixed[label], warped[label], steps) if both else (float("nan"), float("nan"))
        result.hd95[label], result.assd[label] = figures
    return result


def surface_voxels(labels: Tensor, label: int) -> _Indices:
    """Return the indices ``(P, D)`` of one label's surface voxels, array order; none if it is not there."""
    inside = labels == label
    box = bounding_box(inside)
    if box is None:
        return np.empty((0, labels.ndim), dtype=np.int64)
    # Beyond the box is no voxel of the label, so its faces count as edges there too.
    found = _surfaces(inside[box].to(torch.uint8).numpy())[1]
    return np.asarray(found + np.array([axis.start for axis in box]), dtype=np.int64)


def bounding_box(inside: Tensor) -> tuple[slice, ...] | None:
    """Return the smallest box of indices, array order, around the voxels that are true; None if there are none."""
    if inside.numel() == 0:
        return None
    box = []
    for axis in range(inside.ndim):
        # The largest byte is found several times faster than whether any is true.
        line = inside.view(torch.uint8)
        for other in reversed([a for a in range(inside.ndim) if a != axis]):
            line = line.amax(dim=other)
        index = line.nonzero()[:, 0]
        if len(index) == 0:
            return None
        box.append(slice(int(index[0]), int(index[-1]) + 1))
    return tuple(box)


def _surfaces(labels: NDArray) -> dict[int, _Indices]:
    """Return the indices ``(n, D)`` of each label's surface voxels, found for all labels at once."""
    # The flat positions are few, so everything after this line is cheap whatever the number of labels.
    flat = np.flatnonzero(_edges(labels))
    values = labels.reshape(-1)[flat]
    order = np.argsort(values, kind="stable")
    present, starts = np.unique(values[order], return_index=True)
    groups = np.split(flat[order], starts[1:])
    return {
        int(value): np.stack(np.unravel_index(group, labels.shape), axis=-1)
        for value, group in zip(present, groups, strict=True)
    }


def _edges(labels: NDArray) -> NDArray[np.bool_]:
    """Whether some face neighbour has another value, or lies outside the volume."""
    edges = np.zeros(labels.shape, dtype=bool)
    for axis in range(labels.ndim):
        along, marks = np.moveaxis(labels, axis, 0), np.moveaxis(edges, axis, 0)
        differs = along[1:] != along[:-1]
        marks[1:] |= differs
        marks[:-1] |= differs
        marks[[0, -1]] = True
    return edges


def _distances(fixed: _Indices, warped: _Indices, spacing: NDArray) -> tuple[float, float]:
    directed = _directed(fixed, warped, spacing), _directed(warped, fixed, spacing)
    hd95 = max(float(np.percentile(values, 95)) for values in directed)
    return hd95, float(np.mean([values.mean() for values in directed]))


def _directed(these: _Indices, others: _Indices, spacing: NDArray) -> NDArray[np.float64]:
    """Return the distance (mm) of each of ``these`` to the nearest of ``others``."""
    # A box that holds both sets gives the exact distances. The margin keeps background around every surface voxel,
    # without which ITK would take some of them for the inside of an object and not for its border.
    start = np.minimum(these.min(axis=0), others.min(axis=0)) - 1
    size = np.maximum(these.max(axis=0), others.max(axis=0)) + 2 - start
    mask = np.zeros(size, dtype=np.uint8)
    mask[tuple((others - start).T)] = 1
    image = sitk.GetImageFromArray(mask)
    image.SetSpacing(spacing[::-1].tolist())
    squared = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=True, useImageSpacing=True)
    values = sitk.GetArrayViewFromImage(squared)[tuple((these - start).T)]
    return np.asarray(np.sqrt(np.maximum(values.astype(np.float64), 0.0)))
