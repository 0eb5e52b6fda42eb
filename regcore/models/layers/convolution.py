"""Convolutions where the usual ones are slow or wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.layers.normalisation import channels_last

_TINY = 2  # voxels along an axis


def single_channel_convolution(image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve an image of one channel with 3x3x3 (3x3) kernels, zero padding 1.

    The three taps along the last axis are offered as three channels: vector units idle on a single one, and
    the result comes with its channels innermost. Three times as fast on a CPU, the sum is the same.

    Args:
        image: ``(N, 1, *size)``.
        weight: ``(channels, 1, 3, 3, 3)`` in 3D, ``(channels, 1, 3, 3)`` in 2D.
        bias: ``(channels,)`` or none.

    Returns:
        ``(N, channels, *size)``, channels innermost.
    """
    last = image.shape[-1]
    padded = F.pad(image[:, 0], (1, 1))
    taps = torch.stack([padded[..., tap : tap + last] for tap in range(3)], dim=-1).movedim(-1, 1)
    kernel = weight[:, 0].movedim(-1, 1).unsqueeze(-1)
    flat = (*(1,) * (image.ndim - 3), 0)
    convolve = F.conv3d if image.ndim == 5 else F.conv2d
    return channels_last(convolve(taps, kernel, bias, padding=flat))


def convolution3(data: Tensor, weight: Tensor) -> Tensor:
    """Convolve a volume with 3x3x3 kernels, zero padding 1, in float32 where half precision goes wrong.

    On the processor torch (2.13) gets the gradient of a bfloat16 convolution's weights wrong, up to infinity, for maps
    of two voxels along an axis.

    Args:
        data: ``(N, incoming, *size)``.
        weight: ``(outgoing, incoming, 3, 3, 3)``.

    Returns:
        ``(N, outgoing, *size)``.
    """
    if not _goes_wrong(data):
        return F.conv3d(data, weight, padding=1)
    with torch.autocast("cpu", enabled=False):
        return F.conv3d(data.to(weight.dtype), weight, padding=1)


class Convolution3d(nn.Conv3d):
    """A convolution of volumes that stays in float32 on tiny maps: see `convolution3`."""

    def forward(self, data: Tensor) -> Tensor:
        """As `torch.nn.Conv3d`."""
        if not _goes_wrong(data):
            return super().forward(data)
        with torch.autocast("cpu", enabled=False):
            return super().forward(data.to(self.weight.dtype))


def _goes_wrong(data: Tensor) -> bool:
    return data.device.type == "cpu" and min(data.shape[2:]) <= _TINY
