"""The loss of ReSAAtt, the network with residual self-attention cells in its skip connections."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor

from regcore.losses._inputs import check_displacement, in_full_precision
from regcore.losses.composite import weighted_sum
from regcore.losses.similarity import mse
from regcore.losses.ssim import ssim

RESAATT_WEIGHTS = MappingProxyType({"ssim": 1.0, "mse": 3.136, "smoothness": 0.9408})


def resaatt_loss(warped: Tensor, fixed: Tensor, displacement: Tensor) -> Tensor:
    """Return the sum of `resaatt_terms` weighted by ``RESAATT_WEIGHTS``.

    The paper writes ``1e6 (1 - SSIM) + 500 / 2 sum |I_r - I_y|^2 + 150 / 2 sum |du|^2`` with sums over the 112 x 112
    pixels of its images. With means in place of sums the balance no longer changes with the size of the image:
    that is, divided by 1e6, ``(1 - SSIM) + 3.136 mse + 0.9408 smoothness``.

    Args:
        warped: ``(N, C, *size)``, intensities in [0, 1], at least 11 voxels along each axis.
        fixed: ``(N, C, *size)``.
        displacement: ``(N, D, *size)``, voxels.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes do not fit together, or an image is too small.

    Reference:
        Parbs, Koch, Mertins, "Convolutive Attention for Image Registration".
    """
    return weighted_sum(resaatt_terms(warped, fixed, displacement), RESAATT_WEIGHTS).total


@in_full_precision
def resaatt_terms(warped: Tensor, fixed: Tensor, displacement: Tensor) -> dict[str, Tensor]:
    """Return the terms ``ssim``, ``mse`` and ``smoothness`` of `resaatt_loss`; see there.

    ``smoothness`` is the sum over axes and components of squared forward differences per voxel. It is taken of the
    displacement, not of the map ``x + u``, whose smoothest form would be a collapse to one point.
    """
    check_displacement("displacement", displacement)
    squares = [displacement.diff(dim=axis).square().sum() for axis in range(2, displacement.ndim)]
    voxels = displacement[:, 0].numel()
    return {
        "ssim": ssim(warped, fixed),
        "mse": mse(warped, fixed),
        "smoothness": torch.stack(squares).sum() / voxels,
    }
