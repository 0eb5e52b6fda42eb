"""Averages over blocks of two voxels a side."""

from __future__ import annotations

from torch import Tensor


def halve(data: Tensor) -> Tensor:
    """Return the averages over blocks of two voxels along every axis, ``(N, C, *size / 2)``.

    Works axis by axis and keeps the memory layout; the library's pooling copies channels-last volumes.

    Args:
        data: ``(N, C, *size)``, sides even.
    """
    for axis in range(2, data.ndim):
        pairs = data.view(*data.shape[:axis], data.shape[axis] // 2, 2, *data.shape[axis + 1 :])
        data = pairs.select(axis + 1, 0) + pairs.select(axis + 1, 1)
    return data * 0.5 ** (data.ndim - 2)
