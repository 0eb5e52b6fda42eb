"""Spatial derivatives by central differences."""

from __future__ import annotations

import torch
from torch import Tensor


def derivative(data: Tensor, axis: int) -> Tensor:
    """Differentiate along one axis, per voxel: central inside, one-sided on the two faces.

    Args:
        data: ``(N, C, *shape)``.
        axis: index into ``data.shape``. An axis of one voxel has derivative 0.

    Returns:
        ``(N, C, *shape)``.
    """
    size = data.shape[axis]
    slope = torch.zeros_like(data)
    if size > 2:
        ahead, behind = data.narrow(axis, 2, size - 2), data.narrow(axis, 0, size - 2)
        torch.sub(ahead, behind, out=slope.narrow(axis, 1, size - 2)).mul_(0.5)
    if size > 1:
        last = data.narrow(axis, size - 1, 1) - data.narrow(axis, size - 2, 1)
        slope.narrow(axis, size - 1, 1).copy_(last)
        slope.narrow(axis, 0, 1).copy_(data.narrow(axis, 1, 1) - data.narrow(axis, 0, 1))
    return slope


def gradient(image: Tensor) -> Tensor:
    """Differentiate a one-channel image along every axis: ``(N, 1, *shape)`` to ``(N, D, *shape)``."""
    return torch.cat([derivative(image, axis) for axis in range(2, image.ndim)], dim=1)
