"""Cross attention between the two images of a pair: the block, and the fusion of several levels with it.

The two streams are the halves of a batch, ``(2 N, D, H, W, C)``, channels last: the moving images, then the fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from regcore.models.layers.window_attention import check_windows, window_attention

Merge = Literal["mean", "sequential", "concat"]
MERGES: tuple[Merge, ...] = get_args(Merge)

_ROWS = 4096  # tokens that go through the multilayer perceptron at a time without gradients: they stay in cache


class FusionOptions(NamedTuple):
    """What the fusion modules of a network have in common.

    Attributes:
        window: side of the windows of the queries, tokens.
        magnification: how many times as wide the windows of the keys are.
        merge: what becomes of the results of several levels: their ``mean``, a linear map of all (``concat``), or
            each level attends with the result of the one before (``sequential``).
        checkpoint: while training, keep only the inputs of each block and compute it again in the backward pass.
    """

    window: int = 2
    magnification: int = 3
    merge: Merge = "mean"
    checkpoint: bool = True


def swap(pair: Tensor) -> Tensor:
    """Exchange the halves of the batch: for every image, the other one of its pair."""
    moving, fixed = pair.chunk(2)
    return torch.cat([fixed, moving])


class CrossAttentionBlock(nn.Module):
    """Attention from a base to a search volume and a multilayer perceptron, each added to its input.

    Args:
        channels: C.
        heads: of the attention, a divisor of C.
        stochastic_depth: probability that training skips the attention, or the perceptron, of an item.
        options: its window, magnification and checkpoint.

    Reference:
        Shi et al.: XMorpher, MICCAI 2022 (its figure normalises both branches, its code the base alone).

    Raises:
        ValueError: windows that cannot be centred, see `check_windows`.
    """

    def __init__(self, channels: int, heads: int, stochastic_depth: float, options: FusionOptions) -> None:
        super().__init__()
        check_windows(options.window, options.magnification)
        self.heads = heads
        self.stochastic_depth = stochastic_depth
        self.options = options
        self.norm_base = nn.LayerNorm(channels)
        self.norm_search = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, base: Tensor, search: Tensor) -> Tensor:
        """Return ``(N, D, H, W, C)`` for ``base`` and ``search`` of that shape."""
        if self.options.checkpoint and self.training and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._forward, base, search, use_reentrant=False)
            return out
        return self._forward(base, search)

    def _forward(self, base: Tensor, search: Tensor) -> Tensor:
        # Projected before the windows are enlarged: once per token, not once per window it lies in.
        query, key_value = self.query(self.norm_base(base)), self.key_value(self.norm_search(search))
        window, magnification = self.options.window, self.options.magnification
        found = window_attention(query, key_value, self.heads, window, magnification)
        tokens = (base + self._sometimes(self.project(found))).contiguous()
        if torch.is_grad_enabled() or self.training:
            return tokens + self._sometimes(self.perceptron(tokens))
        for rows in torch.split(tokens.view(-1, tokens.shape[-1]), _ROWS):
            rows += self.perceptron(rows)
        return tokens

    def _sometimes(self, change: Tensor) -> Tensor:
        if not self.training or self.stochastic_depth == 0:
            return change
        keep = 1 - self.stochastic_depth
        kept = torch.rand(len(change), *(1,) * (change.ndim - 1), device=change.device) < keep
        return change * (kept / keep).to(change.dtype)


class FusionModule(nn.Module):
    """Cross attention both ways, over the pair's own level and over finer ones, all with the same block.

    Args:
        channels: C of its level.
        heads: of its block.
        finer: channels of the finer levels it looks at as well; may be empty.
        stochastic_depth: of its block.
        options: see `FusionOptions`.

    Raises:
        ValueError: an unknown ``merge``.
    """

    def __init__(
        self, channels: int, heads: int, finer: Sequence[int], stochastic_depth: float, options: FusionOptions
    ) -> None:
        super().__init__()
        if options.merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(MERGES)}, got {options.merge!r}")
        self.merge = options.merge
        self.block = CrossAttentionBlock(channels, heads, stochastic_depth, options)
        self.widen = nn.ModuleList(nn.Linear(narrow, channels) for narrow in finer)
        joined = bool(finer) and self.merge == "concat"
        self.join = nn.Linear((1 + len(finer)) * channels, channels) if joined else None

    def forward(self, pair: Tensor, finer: Sequence[Tensor]) -> Tensor:
        """Return the pair after attention, ``(2 N, D, H, W, C)``.

        Args:
            pair: ``(2 N, D, H, W, C)``.
            finer: pairs of the finer levels, pooled to the same size, ``(2 N, D, H, W, finer channels)`` each.
        """
        fused: Tensor = self.block(pair, swap(pair))
        searches = (widen(swap(level)) for widen, level in zip(self.widen, finer, strict=True))
        if self.merge == "sequential":
            for search in searches:
                fused = self.block(fused, search)
            return fused
        results = [fused, *(self.block(pair, search) for search in searches)]
        if self.join is not None:
            joined: Tensor = self.join(torch.cat(results, dim=-1))
            return joined
        return torch.stack(results).mean(0) if len(results) > 1 else fused


class FusionLevel(nn.Module):
    """The fusion modules of one level, one after the other.

    Args:
        channels, heads, finer, options: of each module.
        stochastic_depths: one per module.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        finer: Sequence[int],
        stochastic_depths: Sequence[float],
        options: FusionOptions,
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(FusionModule(channels, heads, finer, rate, options) for rate in stochastic_depths)

    def forward(self, pair: Tensor, finer: Sequence[Tensor]) -> Tensor:
        """As `FusionModule.forward`."""
        for step in self.steps:
            pair = step(pair, finer)
        return pair
