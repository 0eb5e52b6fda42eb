"""Folding of a displacement under each definition in use, so that figures can be compared with any paper's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from regcore.metrics._checks import check_finite
from regcore.metrics.regularity import folding_percent
from regcore.ops.fields import jacobian_determinant


class Folding(NamedTuple):
    """Share of voxels where space folds, in percent, by the differences taken and the determinants counted.

    Attributes:
        central: ``|J| <= 0``, central differences: `folding_percent`, and Learn2Reg's definition.
        central_strict: ``|J| < 0``, central differences.
        forward: ``|J| <= 0``, forward differences: as CAML reports it (2024).
        forward_strict: ``|J| < 0``, forward differences: as ReSAAtt reports it (Parbs et al. 2022, equation 10).
    """

    central: float
    central_strict: float
    forward: float
    forward_strict: float


def folding(displacement: Tensor, mask: Tensor | None = None) -> Folding:
    """Return the share of folded voxels (percent) under each definition.

    Args:
        displacement: ``(D, *shape)``, voxels, component order = axis order.
        mask: ``(*shape)``; voxels that are not 0 count, all unless given.

    Raises:
        ValueError: the displacement has another shape or NaN, or the mask has another shape or is empty.
    """
    if displacement.ndim not in (3, 4) or displacement.shape[0] != displacement.ndim - 1:
        shape = tuple(displacement.shape)
        raise ValueError(f"displacement: expected (2, rows, columns) or (3, slices, rows, columns), got {shape}")
    check_finite("displacement", displacement)
    batch = displacement[None] if displacement.dtype == torch.float64 else displacement[None].float()
    central, forward = jacobian_determinant(batch)[0], forward_jacobian_determinant(batch)[0]
    return Folding(
        central=folding_percent(central, mask),
        central_strict=folding_percent(central, mask, strict=True),
        forward=folding_percent(forward, mask),
        forward_strict=folding_percent(forward, mask, strict=True),
    )


def forward_jacobian_determinant(displacement: Tensor) -> Tensor:
    """Return det(I + du/dx) by forward differences; the last voxel of an axis takes the difference before it.

    Args:
        displacement: ``(N, D, *shape)``, voxels.

    Returns:
        ``(N, *shape)``: 1 where volume is kept, <= 0 where space folds.
    """
    columns = [_forward(displacement, axis) for axis in range(2, displacement.ndim)]
    for component, column in enumerate(columns):
        column[:, component].add_(1)
    if len(columns) == 2:
        return columns[0][:, 0] * columns[1][:, 1] - columns[0][:, 1] * columns[1][:, 0]
    cofactors: Tensor = torch.linalg.cross(columns[1], columns[2], dim=1)
    return (columns[0] * cofactors).sum(1)


def _forward(values: Tensor, axis: int) -> Tensor:
    n = values.shape[axis]
    if n == 1:
        return torch.zeros_like(values)
    inner = torch.diff(values, dim=axis)
    return torch.cat([inner, inner.narrow(axis, n - 2, 1)], dim=axis)
