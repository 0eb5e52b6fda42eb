"""Coarser copies of images and displacements, and the way back up.

Voxels are boxes: the centre of coarse voxel ``i`` lies at ``f i + (f - 1) / 2`` of the finer grid, whatever the size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}


def downsample(data: Tensor, factors: Sequence[int]) -> Tensor:
    """Average blocks of voxels.

    Args:
        data: ``(N, C, *shape)``.
        factors: block size per axis. A last block that is cut short averages the voxels it has.

    Returns:
        ``(N, C, *coarse)`` with ``coarse = ceil(shape / factors)``.
    """
    if all(factor == 1 for factor in factors):
        return data
    # avg_pool refuses generators of sizes and is picky about types: plain lists of int.
    return _POOL[data.ndim - 2](data, list(factors), ceil_mode=True, count_include_pad=False)


def upsample(data: Tensor, factors: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Interpolate linearly onto the finer grid that `downsample` came from.

    Args:
        data: ``(N, C, *coarse)``.
        factors: fine voxels per coarse voxel, per axis.
        shape: size of the fine grid, at most ``coarse * factors``.

    Returns:
        ``(N, C, *shape)``.
    """
    if any(factor != 1 for factor in factors):
        scale = [float(factor) for factor in factors]
        data = F.interpolate(data, scale_factor=scale, mode=_LINEAR[data.ndim - 2], align_corners=False)
    for axis, size in enumerate(shape, start=2):
        data = data.narrow(axis, 0, size)
    return data


def downsample_displacement(displacement: Tensor, factors: Sequence[int]) -> Tensor:
    """`downsample` a displacement ``(N, D, *shape)`` in voxels; the result is in voxels of the coarse grid."""
    return downsample(displacement, factors) / _column(factors, displacement)


def upsample_displacement(displacement: Tensor, factors: Sequence[int], shape: Sequence[int]) -> Tensor:
    """`upsample` a displacement ``(N, D, *coarse)`` in voxels; the result is in voxels of the fine grid."""
    return upsample(displacement, factors, shape) * _column(factors, displacement)


def _column(factors: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(factors, dtype=like.dtype, device=like.device).view(1, -1, *[1] * len(factors))
