"""How smooth and how invertible a deformation is, from its Jacobian determinant."""

from __future__ import annotations

import torch
from torch import Tensor


def folding_percent(determinant: Tensor, mask: Tensor | None = None) -> float:
    """Share of voxels whose Jacobian determinant is 0 or negative, in percent.

    Args:
        determinant: ``(*shape)``, on the fixed grid.
        mask: ``(*shape)``; voxels that are not 0 count, all unless given.

    Raises:
        ValueError: the mask has another shape or is empty.
    """
    values = _inside(determinant, mask)
    return 100.0 * int((values <= 0).sum()) / values.numel()


def sdlogj(determinant: Tensor, mask: Tensor | None = None) -> float:
    """Standard deviation of the logarithm of the Jacobian determinant, 0 for an affine map.

    Args:
        determinant: ``(*shape)``, on the fixed grid; clamped to [1e-9, 1e9] first.
        mask: ``(*shape)``; voxels that are not 0 count, all unless given.

    Raises:
        ValueError: the mask has another shape or is empty.

    Reference:
        Hering et al., "Learn2Reg: comprehensive multi-task medical image registration challenge", IEEE TMI 2023.
    """
    logarithm = _inside(determinant, mask).float().clamp(1e-9, 1e9).log()
    mean = logarithm.mean(dtype=torch.float64)
    return float((logarithm - mean.float()).square().mean(dtype=torch.float64).sqrt())


def _inside(determinant: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return determinant.reshape(-1)
    if mask.shape != determinant.shape:
        raise ValueError(f"mask: expected shape {tuple(determinant.shape)}, got {tuple(mask.shape)}")
    values = determinant[mask != 0]
    if values.numel() == 0:
        raise ValueError("mask: expected at least one voxel that is not 0, found none")
    return values
