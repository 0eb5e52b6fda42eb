"""A residual cell in which every pixel gathers from similar surroundings anywhere in the image.

Reference:
    Parbs, Koch, Mertins: Convolutive Attention for Image Registration, EUSIPCO 2022, section III-B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from regcore.models.layers.patch_attention import PatchOptions, patch_attention, patch_centres
from regcore.models.layers.unet import Norm, convolution, double_convolution


class ResidualAttention(nn.Module):
    """The paper's ReSAAtt cell: the input plus what attention finds in it.

    Query, key and value (the paper's K, Q and V) are double convolutions of the input and its coordinates.

    Args:
        dimensions: 2 or 3.
        features: channels of the input.
        channels: of query, key and value.
        norm: of the convolutions.
        options: of the attention.
    """

    def __init__(self, dimensions: int, features: int, channels: int, norm: Norm, options: PatchOptions) -> None:
        super().__init__()
        self.options = options
        self.project = double_convolution(dimensions, features + dimensions, channels, norm, parts=3)
        self.out = convolution(dimensions)(channels, features, 1)

    def forward(self, data: Tensor) -> Tensor:
        """Return ``(N, features, *size)`` for such input."""
        size = data.shape[2:]
        where = coordinates(size).to(data).expand(len(data), -1, *size)
        query, key, value = self.project(torch.cat([data, where], dim=1)).chunk(3, dim=1)
        found = patch_attention(query, key, value, self.options, self._drawn(size))
        gathered: Tensor = self.out(found.to(data.dtype))
        return data + gathered

    def _drawn(self, size: Sequence[int]) -> Tensor | None:
        if not self.training or self.options.share == 1:
            return None
        count = len(patch_centres(size, self.options))
        return torch.randperm(count)[: math.ceil(self.options.share * count)].sort().values


def coordinates(size: Sequence[int]) -> Tensor:
    """Return each pixel's coordinates, ``(1, D, *size)``, float64: from -1 to 1 along every axis."""
    axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)
