"""Displacement fields inside a network: composition and the step to the next finer level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.ops.sampling import warp


def compose(first: Tensor, then: Tensor) -> Tensor:
    """Return ``first(x + then(x)) + then(x)``: the way through ``then`` and on through ``first``.

    ``first`` counts as zero outside its volume.

    Args:
        first: ``(N, D, *size)``, voxels; the coarser estimate, already applied to the moving image.
        then: ``(N, D, *size)``, voxels; what was found on top of it.
    """
    with torch.autocast(first.device.type, enabled=False):
        return warp(first.float(), then.float()) + then.float()


def upsample(displacement: Tensor) -> Tensor:
    """Return ``displacement`` on a grid of twice the size, ``(N, D, *2 size)``, its voxels half as large.

    Linear between the corner voxels of both grids, values times two, as in the published network; the
    averaging of images by twos would ask for half a voxel at the borders instead.
    """
    mode = "bilinear" if displacement.ndim == 4 else "trilinear"
    return F.interpolate(displacement.float() * 2, scale_factor=2.0, mode=mode, align_corners=True)
