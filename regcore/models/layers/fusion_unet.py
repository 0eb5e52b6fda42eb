"""The network that registers a pair once: a U of fusion modules over patches of both images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.layers.cross_attention import FusionLevel, FusionOptions
from regcore.models.layers.patches import DisplacementHead, Resample
from regcore.models.layers.residual_skip import ResidualSkip

CrossLevels = Literal["none", "finer", "all_finer"]
CROSS_LEVELS: tuple[CrossLevels, ...] = get_args(CrossLevels)

# Gates of what the first pass hands to the second. The idea is to start them at 0, but then the blocks behind them
# get no gradient at the first step. At 0.001 the second pass still starts as a plain repetition of the first.
_GATE = 1e-3


class FusionUNet(nn.Module):
    """Once through the network: a U of fusion modules over patches of the images, then the head.

    Args:
        channels, depths, heads, cross_levels, residual_skips, bottleneck, stochastic_depth: as in `CAML`.
        carries: take features of an earlier pass.
        patch: voxels a side of a token of the finest level.
        options: of the fusion modules.
    """

    def __init__(
        self,
        channels: int,
        depths: Sequence[int],
        heads: Sequence[int],
        *,
        cross_levels: CrossLevels,
        residual_skips: bool,
        carries: bool,
        bottleneck: bool,
        stochastic_depth: float,
        patch: int,
        options: FusionOptions,
    ) -> None:
        super().__init__()
        levels = len(depths)
        widths = [channels * 2**level for level in range(levels)]
        reach = {"none": 0, "finer": 1, "all_finer": levels}[cross_levels]
        self.finer = [range(max(0, level - reach), level) for level in range(levels)]
        share = stochastic_depth / max(1, sum(depths) - 1)
        rates = [[share * (sum(depths[:k]) + step) for step in range(depths[k])] for k in range(levels)]

        def stages() -> nn.ModuleList:
            return nn.ModuleList(
                FusionLevel(widths[k], heads[k], [widths[f] for f in self.finer[k]], rates[k], options)
                for k in range(levels)
            )

        def skips(count: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualSkip(w, bottleneck and w == widths[-1]) for w in widths[:count])

        self.embedding = nn.Conv3d(1, channels, patch, stride=patch)
        self.encoder = stages()
        self.decoder = stages()
        self.down = nn.ModuleList(Resample(nn.Conv3d(w, 2 * w, 2, stride=2)) for w in widths[:-1])
        self.up = nn.ModuleList(Resample(nn.ConvTranspose3d(2 * w, w, 2, stride=2)) for w in widths[:-1])
        self.joins = nn.ModuleList(nn.Linear(2 * w, w) for w in widths[:-1])
        self.skips = skips(levels - 1) if residual_skips else None
        self.carry = skips(levels) if carries else None
        self.gates = nn.ParameterList(torch.full((w,), _GATE) for w in widths) if carries else None
        self.head = DisplacementHead(channels, patch)

    def forward(
        self, moving: Tensor, fixed: Tensor, carried: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the displacement and what a further pass takes as ``carried``.

        Args:
            moving: ``(N, 1, *size)``, sides divisible by ``patch``.
            fixed: as ``moving``.
            carried: the decoder's features of an earlier pass.

        Returns:
            The displacement ``(N, 3, *size)``, voxels, and per level, finest first, the features of both
            streams ``(2 N, *level size, C)``.
        """
        encoded, pooled = self._encode(torch.cat([moving, fixed]), carried)
        decoded: list[Tensor] = []
        for level in reversed(range(len(encoded))):
            pair = encoded[level]
            if decoded:
                size = pair.shape[1:4]
                skip = pair if self.skips is None else self.skips[level](pair)
                above = self.up[level](decoded[0])[:, : size[0], : size[1], : size[2]]
                pair = self.joins[level](torch.cat([above, skip], dim=-1))
            decoded.insert(0, self.decoder[level](pair, pooled[level]))
        return self.head(decoded[0]), decoded

    def _encode(self, images: Tensor, carried: Sequence[Tensor] | None) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Return per level the features, and those of finer levels pooled to its size."""
        encoded: list[Tensor] = []
        pooled: list[list[Tensor]] = []
        pair = self.embedding(images).movedim(1, -1).contiguous()
        for level, fuse in enumerate(self.encoder):
            if level:
                pair = self.down[level - 1](pair)
            if carried is not None:
                assert self.carry is not None
                assert self.gates is not None
                pair = pair + self.gates[level].to(pair.dtype) * self.carry[level](carried[level])
            pooled.append([_pool(encoded[finer], pair.shape[1:4]) for finer in self.finer[level]])
            encoded.append(fuse(pair, pooled[level]))
        return encoded, pooled


def _pool(tokens: Tensor, size: torch.Size) -> Tensor:
    return F.adaptive_max_pool3d(tokens.movedim(-1, 1).contiguous(), size).movedim(1, -1).contiguous()
