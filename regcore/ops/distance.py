"""Exact signed distances to the border of a mask, in millimetres, finer than its voxels.

The border crosses each edge between an inner and an outer neighbour where the occupancy, linear along the edge, is one
half: halfway for a mask of 0 and 1, elsewhere where voxels are partly filled. Distances are to these crossings, so the
two sides of a flat border are as far from it as they truly are; distances between voxel centres would not be.

Reference: Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 8, 2012, for
squared distances one axis after the other; Raya and Udupa, "Shape-based interpolation of multidimensional objects",
IEEE TMI 9, 1990, for distances between thick slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_HALF = 0.5


def crossings(occupancy: Tensor) -> list[Tensor]:
    """Return where the border crosses the edges along each axis.

    Args:
        occupancy: ``(*shape)``, the share of each voxel that is filled; inside is above one half.

    Returns:
        Per axis ``(n, D)`` float64, voxel indices in array order, all whole but the axis' own.
    """
    found = []
    for axis in range(occupancy.ndim):
        share = _shares(occupancy, axis)
        index = share.isfinite().nonzero()
        points = index.double()
        points[:, axis] += share[tuple(index.T)]
        found.append(points)
    return found


def signed_distance(occupancy: Tensor, spacing: Sequence[float]) -> Tensor:
    """Return the distance of each voxel's centre to the nearest crossing, negative inside.

    The edge of the array is no border: a mask cut off there goes on.

    Args:
        occupancy: see `crossings`.
        spacing: distance between neighbours per axis, array order (mm).

    Returns:
        ``(*shape)`` float64; infinite where there is no border at all.
    """
    axes = range(occupancy.ndim)
    nearest = torch.full(occupancy.shape, torch.inf, dtype=torch.float64)
    for axis in axes:
        squared = _along_lines(_shares(occupancy, axis), axis) * spacing[axis] ** 2
        if bool(squared.isfinite().any()):
            for other in axes:
                squared = squared if other == axis else _lower_envelope(squared, other, spacing[other])
            nearest = torch.minimum(nearest, squared)
    return torch.where(occupancy > _HALF, -1.0, 1.0) * nearest.sqrt()


def _shares(occupancy: Tensor, axis: int) -> Tensor:
    """Return how far along the edge to the next voxel the border lies, 0 to 1; NaN where it does not cross."""
    kept = occupancy.shape[axis] - 1
    here, there = (occupancy.narrow(axis, start, kept).double() for start in (0, 1))
    share = (_HALF - here) / (there - here)
    return share.where((here > _HALF) != (there > _HALF), torch.nan)


def _along_lines(share: Tensor, axis: int) -> Tensor:
    """Return each voxel's squared distance (voxels) to the nearest crossing on its own line."""
    edges = share.movedim(axis, -1)
    count = edges.shape[-1] + 1
    position = torch.arange(count, dtype=torch.float64)
    at = edges + position[:-1]
    none = edges.new_full((*edges.shape[:-1], 1), torch.inf)
    before = torch.cat([-none, at.nan_to_num(-torch.inf, neginf=-torch.inf).cummax(-1).values], -1)
    after = torch.cat([at.nan_to_num(torch.inf, posinf=torch.inf).flip(-1).cummin(-1).values.flip(-1), none], -1)
    return torch.minimum(position - before, after - position).square().movedim(-1, axis)


def _lower_envelope(squared: Tensor, axis: int, spacing: float) -> Tensor:
    """Return the least of ``squared`` and the squared way along ``axis``, over all voxels of a line."""
    best = squared.clone()
    size = squared.shape[axis]
    for shift in range(1, size):
        way = (shift * spacing) ** 2
        if way >= float(best.max()):
            break
        kept = size - shift
        for start, end in ((0, shift), (shift, 0)):
            into = best.narrow(axis, end, kept)
            torch.minimum(into, squared.narrow(axis, start, kept) + way, out=into)
    return best
