"""Coarser copies of images and displacements, and the way back up.

Voxels are boxes: the centre of coarse voxel ``i`` lies at ``f i + (f - 1) / 2`` of the finer grid, whatever the size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def downsample(data: Tensor, factors: Sequence[int]) -> Tensor:
    """Average blocks of voxels.

    Args:
        data: ``(N, C, *shape)``.
        factors: block size per axis. A last block that is cut short averages the voxels it has.

    Returns:
        ``(N, C, *coarse)`` with ``coarse = ceil(shape / factors)``.
    """
    # One axis after the other, in whole rows: faster than torch's pooling, and less is left for the next.
    for axis, factor in enumerate(factors, start=2):
        if factor != 1:
            data = _average_axis(data, axis, factor)
    return data


def upsample(data: Tensor, factors: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Interpolate linearly onto the finer grid that `downsample` came from.

    Args:
        data: ``(N, C, *coarse)``.
        factors: fine voxels per coarse voxel, per axis.
        shape: size of the fine grid, at most ``coarse * factors``.

    Returns:
        ``(N, C, *shape)``.
    """
    # As above: a sixth of the time of torch's interpolation in volumes.
    for axis in reversed(range(2, data.ndim)):
        if factors[axis - 2] != 1:
            data = _upsample_axis(data, axis, factors[axis - 2])
        data = data.narrow(axis, 0, shape[axis - 2])
    return data


def _average_axis(data: Tensor, axis: int, factor: int) -> Tensor:
    blocks, left = divmod(data.shape[axis], factor)
    whole = data.narrow(axis, 0, blocks * factor)
    split = whole.reshape(*data.shape[:axis], blocks, factor, *data.shape[axis + 1 :])  # a view
    mean = split.select(axis + 1, 0) / factor
    for number in range(1, factor):
        mean.add_(split.select(axis + 1, number), alpha=1 / factor)
    if not left:
        return mean
    return torch.cat((mean, data.narrow(axis, blocks * factor, left).mean(axis, keepdim=True)), dim=axis)


def _upsample_axis(data: Tensor, axis: int, factor: int) -> Tensor:
    size = data.shape[axis]
    fine = data.new_empty(*data.shape[:axis], size, factor, *data.shape[axis + 1 :])
    before, after = data.narrow(axis, 0, size - 1), data.narrow(axis, 1, size - 1)
    for number in range(factor):
        place = (number + 0.5) / factor - 0.5  # of the fine voxel, from the centre of the coarse one it lies in
        part = fine.select(axis + 1, number)
        if place < 0:
            part.narrow(axis, 0, 1).copy_(data.narrow(axis, 0, 1))
            torch.lerp(before, after, 1 + place, out=part.narrow(axis, 1, size - 1))
        else:
            torch.lerp(before, after, place, out=part.narrow(axis, 0, size - 1))
            part.narrow(axis, size - 1, 1).copy_(data.narrow(axis, size - 1, 1))
    return fine.flatten(axis, axis + 1)


def downsample_displacement(displacement: Tensor, factors: Sequence[int]) -> Tensor:
    """`downsample` a displacement ``(N, D, *shape)`` in voxels; the result is in voxels of the coarse grid."""
    return downsample(displacement, factors) / _column(factors, displacement)


def upsample_displacement(displacement: Tensor, factors: Sequence[int], shape: Sequence[int]) -> Tensor:
    """`upsample` a displacement ``(N, D, *coarse)`` in voxels; the result is in voxels of the fine grid."""
    return upsample(displacement, factors, shape) * _column(factors, displacement)


def _column(factors: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(factors, dtype=like.dtype, device=like.device).view(1, -1, *[1] * len(factors))
