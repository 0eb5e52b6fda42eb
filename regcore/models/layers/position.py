"""Vectors that tell a transformer where in the image a token lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """A learned table of positions, stretched to whatever grid of tokens there is.

    Args:
        width: numbers per token.
        reference: grid for which the table is stored.
    """

    def __init__(self, width: int, reference: Sequence[int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, width, *reference))
        nn.init.normal_(self.table, std=0.02)

    def forward(self, grid: Sequence[int]) -> Tensor:
        """Return ``(tokens, width)``, float32, last axis of the grid fastest."""
        mode = "bilinear" if len(grid) == 2 else "trilinear"
        # Between the middles of tokens: both grids cover one and the same image.
        table = F.interpolate(self.table.float(), size=tuple(grid), mode=mode, align_corners=False)
        return table[0].flatten(1).mT


def sincos_positions(grid: Sequence[int], width: int, like: Tensor) -> Tensor:
    """Return sines and cosines of the place along every axis, counted in tokens.

    Each axis gets an equal share of the numbers, its wavelengths growing geometrically from 2 pi to nearly
    20,000 pi; what cannot be shared out is zero.

    Args:
        grid: numbers of tokens.
        width: numbers per token, at least two per axis.
        like: whose device the result has.

    Returns:
        ``(tokens, width)``, float32, last axis of the grid fastest.

    Reference:
        Vaswani et al.: Attention is all you need, NeurIPS 2017, section 3.5, for each axis on its own.
    """
    bands = width // (2 * len(grid))
    rates = 10_000.0 ** (-torch.arange(bands, device=like.device) / bands)
    parts = []
    for axis, n in enumerate(grid):
        angles = torch.arange(n, device=like.device)[:, None] * rates
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        parts.append(waves.view(*(n if a == axis else 1 for a in range(len(grid))), -1).expand(*grid, -1))
    return F.pad(torch.cat(parts, dim=-1).flatten(0, -2), (0, width - 2 * bands * len(grid)))
