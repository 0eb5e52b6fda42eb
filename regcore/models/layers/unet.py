"""Parts of a U-Net in two or three dimensions: double convolutions, normalisation, the way down and up."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import nn

from regcore.models.layers.convolution import Convolution3d

Norm = Literal["batch", "group"]
NORMS = get_args(Norm)

_GROUP = 8  # channels


def convolution(dimensions: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Return the convolution over so many axes."""
    return nn.Conv2d if dimensions == 2 else Convolution3d


def double_convolution(dimensions: int, incoming: int, outgoing: int, norm: Norm, parts: int = 1) -> nn.Sequential:
    """Make convolution, normalisation and ReLU, twice.

    Args:
        dimensions: 2 or 3.
        incoming: channels of the input.
        outgoing: channels of the result, of each part.
        norm: over the batch, or over groups of 8 channels of each item (fewer where 8 does not divide them).
        parts: this many double convolutions of one input side by side; their results follow each other.
    """
    make, total = convolution(dimensions), parts * outgoing
    return nn.Sequential(
        make(incoming, total, 3, padding=1, bias=False),
        _normalisation(dimensions, total, norm),
        nn.ReLU(inplace=True),
        make(total, total, 3, padding=1, bias=False, groups=parts),
        _normalisation(dimensions, total, norm),
        nn.ReLU(inplace=True),
    )


def doubling(dimensions: int, incoming: int, outgoing: int) -> nn.Module:
    """Make the transposed convolution that doubles every side."""
    make = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
    return make(incoming, outgoing, 2, stride=2)


def _normalisation(dimensions: int, channels: int, norm: Norm) -> nn.Module:
    if norm == "group":
        return nn.GroupNorm(channels // math.gcd(channels, _GROUP), channels)
    return nn.BatchNorm2d(channels) if dimensions == 2 else nn.BatchNorm3d(channels)
