"""Spatial derivatives by central differences; 0 on the faces, where there is background or nothing to compare with."""

from __future__ import annotations

import torch
from torch import Tensor


def derivative(data: Tensor, axis: int) -> Tensor:
    """Differentiate along one axis, per voxel.

    Args:
        data: ``(N, C, *shape)``.
        axis: index into ``data.shape``.

    Returns:
        ``(N, C, *shape)``.
    """
    slope = torch.zeros_like(data)
    inside = data.shape[axis] - 2
    if inside > 0:
        ahead, behind = data.narrow(axis, 2, inside), data.narrow(axis, 0, inside)
        torch.sub(ahead, behind, out=slope.narrow(axis, 1, inside)).mul_(0.5)
    return slope


def gradient(image: Tensor) -> Tensor:
    """Differentiate a one-channel image along every axis: ``(N, 1, *shape)`` to ``(N, D, *shape)``."""
    return torch.cat([derivative(image, axis) for axis in range(2, image.ndim)], dim=1)
