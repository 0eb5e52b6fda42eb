"""How smooth and how invertible a deformation is, from its Jacobian determinant."""

from __future__ import annotations

import torch
from torch import Tensor

from regcore.metrics._checks import check_finite


def folding_percent(determinant: Tensor, mask: Tensor | None = None, *, strict: bool = False) -> float:
    """Share of voxels whose Jacobian determinant is 0 or negative, in percent.

    Args:
        determinant: ``(*shape)``, on the fixed grid.
        mask: ``(*shape)``; voxels that are not 0 count, all unless given.
        strict: count only negative determinants.

    Raises:
        ValueError: NaN, or the mask has another shape or is empty.
    """
    values = _inside(determinant, mask)
    return 100.0 * int((values < 0 if strict else values <= 0).sum()) / values.numel()


def sdlogj(determinant: Tensor, mask: Tensor | None = None, *, offset: float = 0.0) -> float:
    """Standard deviation of the logarithm of the Jacobian determinant, 0 for an affine map.

    The definition is that of the paper. The script behind Learn2Reg's tables departs from it: it adds 3 to the
    determinant and leaves out two voxels at each border. ``sdlogj(determinant[2:-2, 2:-2, 2:-2], offset=3)`` is its
    figure, much smaller than that of the definition, and the one to compare with its tables.

    Args:
        determinant: ``(*shape)``, on the fixed grid; clamped to [1e-9, 1e9] first.
        mask: ``(*shape)``; voxels that are not 0 count, all unless given.
        offset: added to the determinant before it is clamped.

    Raises:
        ValueError: NaN, or the mask has another shape or is empty.

    Reference:
        Hering et al., "Learn2Reg: comprehensive multi-task medical image registration challenge", IEEE TMI 2023.
    """
    logarithm = (_inside(determinant, mask).float() + offset).clamp(1e-9, 1e9).log()
    mean = logarithm.mean(dtype=torch.float64)
    return float((logarithm - mean.float()).square().mean(dtype=torch.float64).sqrt())


def _inside(determinant: Tensor, mask: Tensor | None) -> Tensor:
    values = determinant.reshape(-1) if mask is None else _masked(determinant, mask)
    check_finite("determinant", values)
    return values


def _masked(determinant: Tensor, mask: Tensor) -> Tensor:
    if mask.shape != determinant.shape:
        raise ValueError(f"mask: expected shape {tuple(determinant.shape)}, got {tuple(mask.shape)}")
    values = determinant[mask != 0]
    if values.numel() == 0:
        raise ValueError("mask: expected at least one voxel that is not 0, found none")
    return values
