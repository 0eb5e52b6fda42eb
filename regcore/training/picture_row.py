"""Fixed, moving, warped, deformed grid and Jacobian of one pair side by side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from regcore.ops.fields import jacobian_determinant
from regcore.ops.sampling import identity_coordinates, sample, warp
from regcore.png import DIVERGING, coloured

_LINES_EVERY = 6  # voxels
_WINDOW = 0.5  # the Jacobian map shows 1 - this to 1 + this


def picture_row(fixed: Tensor, moving: Tensor, displacement: Tensor) -> Tensor:
    """Return the middle slice of a pair as one picture ``(3, H, 5 W)``, [0, 1].

    Args:
        fixed: ``(1, 1, *size)``, [0, 1].
        moving: as ``fixed``.
        displacement: ``(1, D, *size)``, voxels.
    """
    warped = warp(moving, displacement)
    grid = sample(_lines(fixed), identity_coordinates(fixed.shape[2:], fixed) + displacement)
    shown = [_middle(image[0, 0]) for image in (fixed, moving, warped, grid)]
    pictures = [plane.clamp(0, 1).expand(3, -1, -1) for plane in shown]
    determinant = _middle(jacobian_determinant(displacement)[0])
    colours = coloured(((determinant - 1) / (2 * _WINDOW) + 0.5).clamp(0, 1).cpu().numpy(), DIVERGING)
    jacobian = torch.from_numpy(np.ascontiguousarray(colours.transpose(2, 0, 1))).float() / 255
    return torch.cat([*(picture.cpu().float() for picture in pictures), jacobian], dim=2)


def _lines(like: Tensor) -> Tensor:
    """Return lines along the two axes of the picture."""
    rows, columns = (torch.arange(n, device=like.device) % _LINES_EVERY == 0 for n in like.shape[-2:])
    return (rows[:, None] | columns).float().expand_as(like)


def _middle(volume: Tensor) -> Tensor:
    return volume if volume.ndim == 2 else volume[len(volume) // 2]
