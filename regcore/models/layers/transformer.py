"""Transformer blocks: self-attention, cross-attention, feed-forward.

The sums are those of `torch.nn.TransformerEncoderLayer` and `TransformerDecoderLayer` with ReLU and without
dropout. Those take another path without gradients, which on a CPU holds all pairs of tokens in memory and is
several times slower; these do the same in training and evaluation, to the bit.

Reference:
    Vaswani et al.: Attention is all you need, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of tokens to others.

    Args:
        width: numbers per token, a multiple of ``heads``.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        for linear in (self.query, self.key_value):
            nn.init.xavier_uniform_(linear.weight)
        for linear in (self.query, self.key_value, self.out):
            nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Return ``(N, tokens, width)``: for each token the values of ``others``, ``(N, M, width)``, it attends to."""
        key, value = self.key_value(others).chunk(2, dim=-1)
        query, key, value = (self._split(data) for data in (self.query(tokens), key, value))
        found = F.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, data: Tensor) -> Tensor:
        return data.view(*data.shape[:2], self.heads, -1).transpose(1, 2)


class Block(nn.Module):
    """Self-attention, with ``cross`` also attention to a memory, and a feed-forward net, each added to its input.

    Args:
        width: numbers per token.
        heads: of each attention.
        hidden: units of the feed-forward net.
        cross: attend to a memory (decoder) or not (encoder).
        norm_first: normalise what goes into each part, which deep stacks need, not the sums that come out.
    """

    def __init__(self, width: int, heads: int, hidden: int, *, cross: bool, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.own = Attention(width, heads)
        self.cross = Attention(width, heads) if cross else None
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if cross else 2))

    def forward(self, tokens: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return ``(N, tokens, width)``.

        Args:
            tokens: ``(N, tokens, width)``.
            memory: ``(N, M, width)``, for a block with cross-attention.
        """
        parts: list[Callable[[Tensor], Tensor]] = [lambda x: self.own(x, x), self.feed_forward]
        if self.cross is not None:
            cross = self.cross
            parts.insert(1, lambda x: cross(x, memory))
        for part, norm in zip(parts, self.norms, strict=True):
            tokens = tokens + part(norm(tokens)) if self.norm_first else norm(tokens + part(tokens))
        return tokens


class Stack(nn.Module):
    """Several blocks in a row; deeper than two, they normalise first and once more at the end.

    Args:
        depth: number of blocks; the others as in `Block`.
        width: numbers per token.
        heads: of each attention.
        hidden: units of the feed-forward nets.
        cross: attend to a memory.
    """

    def __init__(self, depth: int, width: int, heads: int, hidden: int, *, cross: bool) -> None:
        super().__init__()
        norm_first = depth > 2
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, cross=cross, norm_first=norm_first) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()

    def forward(self, tokens: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return ``(N, tokens, width)``; the arguments are those of `Block`."""
        for block in self.blocks:
            tokens = block(tokens, memory)
        return self.norm(tokens)  # type: ignore[no-any-return]
