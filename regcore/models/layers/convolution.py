"""Convolutions where the usual ones are slow or wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.layers.normalisation import channels_last

_TINY = 2  # voxels along an axis

# torch (2.13) convolves a single volume on the processor by a path several times as slow, unless it has more elements
# than this, those along the last axis not counted.
_SLOW = 20480


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
    if image.ndim == 4:
        return channels_last(F.conv2d(taps, kernel, bias, padding=(1, 0)))
    return channels_last(_convolved(taps, kernel, bias, (1, 1, 0)))


def convolution3(data: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve a volume with 3x3x3 kernels, zero padding 1, in float32 where half precision goes wrong.

    On the processor torch (2.13) gets the gradient of a bfloat16 convolution's weights wrong, up to infinity, for maps
    of two voxels along an axis.

    Args:
        data: ``(N, incoming, *size)``.
        weight: ``(outgoing, incoming, 3, 3, 3)``.
        bias: ``(outgoing,)`` or none.

    Returns:
        ``(N, outgoing, *size)``.
    """
    if not _goes_wrong(data):
        return _convolved(data, weight, bias, (1, 1, 1))
    with torch.autocast("cpu", enabled=False):
        return _convolved(data.to(weight.dtype), weight, bias, (1, 1, 1))


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


def _convolved(data: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int, int]) -> Tensor:
    """Convolve with a kernel that is 3 long on the first axis: a volume that would be slow as two halves at once."""
    depth = data.shape[2]
    if data.device.type != "cpu" or len(data) > 1 or depth < 2 or data[0, ..., 0].numel() > _SLOW:
        return F.conv3d(data, weight, bias, padding=padding)
    half = (depth + 1) // 2
    padded = F.pad(data, (0, 0, 0, 0, 1, 1 + depth % 2))
    halves = torch.cat([padded[:, :, : half + 2], padded[:, :, half:]])
    found = F.conv3d(halves, weight, bias, padding=(0, *padding[1:]))
    return torch.cat([found[:1], found[1:]], dim=2)[:, :, :depth]
