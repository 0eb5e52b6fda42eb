"""Residual blocks on skip connections."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.layers.convolution import Convolution3d
from regcore.models.layers.normalisation import channels_last

_SLOPE = 0.2


class ResidualSkip(nn.Module):
    """Two 3x3x3 convolutions with instance norm, added to their input: ``leaky(x + IN(conv(leaky(IN(conv x)))))``.

    Args:
        channels: C.
        bottleneck: between 1x1x1 convolutions to and from a quarter of the channels, one 3x3x3 convolution in
            place of two: a 25th of the parameters.

    Reference:
        He et al.: Deep Residual Learning for Image Recognition, CVPR 2016 (block and bottleneck).
    """

    def __init__(self, channels: int, bottleneck: bool = False) -> None:
        super().__init__()
        narrow = channels // 4
        widths = [(channels, narrow, 1), (narrow, narrow, 3), (narrow, channels, 1)]
        if not bottleneck:
            widths = [(channels, channels, 3)] * 2
        self.convolutions = nn.ModuleList(
            Convolution3d(incoming, outgoing, side, padding=side // 2, bias=False)
            for incoming, outgoing, side in widths
        )
        self.norms = nn.ModuleList(nn.InstanceNorm3d(outgoing, affine=True) for _, outgoing, _ in widths)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``(N, D, H, W, C)`` for ``tokens`` of that shape."""
        data = identity = tokens.movedim(-1, 1)
        last = len(self.norms) - 1
        for step, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            data = channels_last(norm(convolution(data)))
            data = F.leaky_relu(data if step < last else data + identity, _SLOPE)
        return data.movedim(1, -1)
