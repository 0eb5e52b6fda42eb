"""Attention of every voxel over its direct neighbours, with the neighbours' offsets as values.

Written as it stands in the papers this needs the 27 neighbours of every key side by side: 4 GiB for one
head of six channels at 160x192x224. Here slabs of the first axis are copied into a small zero-bordered
buffer in which a shift by one voxel is a shift along one flat axis, so all neighbours are views, and what
is made along the way stays in cache. Backward keeps nothing but queries, keys, result and log-sum-exp, and
computes the weights anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Measured on two cores: speed is flat from 2**14 upwards as long as 27 rows of a tile fit the last-level
# cache. A GPU wants few large kernels instead; 27 rows of 2**21 floats are 216 MiB.
_TILE = {"cpu": 2**15, "cuda": 2**21}
_SLAB = {"cpu": 2**18, "cuda": 2**23}

# Added to the logits of keys outside the volume where they are masked: finite, so that no inf - inf can
# arise.
_OUTSIDE = -1e30


def neighbour_offsets(dimensions: int, like: Tensor) -> Tensor:
    """Return the ``(3**D, D)`` offsets in {-1, 0, 1}, first axis slowest, typed and placed as ``like``."""
    axis = torch.arange(-1, 2, dtype=like.dtype, device=like.device)
    return torch.cartesian_prod(*[axis] * dimensions).reshape(-1, dimensions)


def local_attention(query: Tensor, key: Tensor, bias: Tensor, *, mask_outside: bool = False) -> Tensor:
    """Attend from each voxel to its ``3**D`` neighbours and return the mean offset under the weights.

    For voxel x, head s and offset o: ``logit = q_s(x) . k_s(x + o) + bias_s(o)``, without a scale; the
    weights are the softmax over o, the result is ``sum_o weight(o) o``. Keys outside the volume are zeros
    and keep the weight of their bias, which draws a constant image inwards by half a voxel at its faces, as
    in the published network.

    Args:
        query: ``(N, S * C, *size)``, S heads of C channels each, head by head. Two or three spatial axes.
        key: as ``query``.
        bias: ``(S, 3, 3, 3)`` in 3D, ``(S, 3, 3)`` in 2D; in the order of `neighbour_offsets`.
        mask_outside: give no weight to keys outside the volume, nor to the keys opposite to them: with these
            left in, the mean offset of an even choice would again be half a voxel inwards.

    Returns:
        ``(N, S * D, *size)``, voxels, head by head, components in axis order; float32, or float64 for such
        input.

    Raises:
        ValueError: shapes do not fit each other.

    Reference:
        Wang, Wang, Wang: Pyramid Attention Network for Medical Image Registration, ISBI 2024, equation 4.
    """
    dimensions = query.ndim - 2
    heads = bias.shape[0]
    if dimensions not in (2, 3) or query.shape != key.shape:
        raise ValueError(
            "query and key must have one shape (N, channels, *size) with two or three axes, "
            f"got {tuple(query.shape)} and {tuple(key.shape)}"
        )
    if bias.shape[1:] != (3,) * dimensions or query.shape[1] % heads:
        raise ValueError(
            f"bias must be (heads, {', '.join('3' * dimensions)}), "
            f"its heads dividing the {query.shape[1]} channels, got {tuple(bias.shape)}"
        )
    # Half-precision sums of 27 weights would lose the sub-voxel part that is wanted.
    with torch.autocast(query.device.type, enabled=False):
        if torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, bias)):
            out: Tensor = _LocalAttention.apply(  # type: ignore[no-untyped-call]
                query, key, bias, mask_outside
            )
            return out
        return _attend(query, key, bias, mask_outside, keep_lse=False)[0]


class _Slab(NamedTuple):
    """Planes ``start:stop`` of one item and head, flat, with a border of one voxel on every side.

    Position p of the flat axis and its neighbour in the key are ``query[:, p]`` and ``key[:, p + shift]``.
    The query side shares the pitch of the key, so its rows end in positions without meaning: zeros, never
    read back.
    """

    item: int
    head: int
    start: int
    stop: int
    query: Tensor  # (C, length)
    key: Tensor  # (C, length + slack)
    mask: Tensor | None  # (length + slack): 0 inside, _OUTSIDE outside


class _Layout:
    """Sizes and buffers of the slabs over one volume, and the way between volume and slab."""

    def __init__(self, query: Tensor, heads: int) -> None:
        size = query.shape[2:]
        self.size = size
        self.heads = heads
        self.channels = query.shape[1] // heads
        self.dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
        self.device = query.device
        self.pitched = tuple(n + 2 for n in size[1:])
        self.plane = math.prod(self.pitched)
        strides = [math.prod(self.pitched[axis:]) for axis in range(len(size))]
        self.strides = tuple(strides)
        offsets = neighbour_offsets(len(size), torch.zeros((), dtype=torch.long))
        self.shifts = [sum((o + 1) * s for o, s in zip(row, strides, strict=True)) for row in offsets.tolist()]
        kind = "cpu" if query.device.type == "cpu" else "cuda"
        self.tile = min(_TILE[kind], size[0] * self.plane)
        self.planes = max(1, min(size[0], _SLAB[kind] // self.plane))
        self.slack = max(self.shifts)  # reads beyond the last plane of the border, from meaningless positions only

    def new(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def side(self, rows: int) -> Tensor:
        """Return a zeroed query-sided buffer for one slab, ``(rows, planes * plane)``."""
        return self.new(rows, self.planes * self.plane).zero_()

    def bordered(self, rows: int) -> Tensor:
        """Return a zeroed key-sided buffer for one slab."""
        return self.new(rows, (self.planes + 2) * self.plane + self.slack).zero_()

    def inside(self, flat: Tensor, planes: int) -> Tensor:
        """View a query-sided ``(rows, length)`` buffer as ``(rows, planes, *size[1:])``."""
        grid = flat[:, : planes * self.plane].view(flat.shape[0], planes, *self.pitched)
        for axis, n in enumerate(self.size[1:], start=2):
            grid = grid.narrow(axis, 0, n)
        return grid

    def inside_border(self, flat: Tensor, planes: int) -> Tensor:
        """View a key-sided buffer as ``(rows, planes + 2, *size[1:])``."""
        grid = flat[:, : (planes + 2) * self.plane].view(flat.shape[0], planes + 2, *self.pitched)
        for axis, n in enumerate(self.size[1:], start=2):
            grid = grid.narrow(axis, 1, n)
        return grid

    def neighbours(self, flat: Tensor, first: int, length: int) -> Tensor:
        """View a key-sided row as ``(3, .., 3, length)``: all neighbours of ``length`` positions."""
        count = len(self.size)
        return flat[first:].as_strided((*(3,) * count, length), (*self.strides, 1))

    def slabs(self, query: Tensor, key: Tensor, mask_outside: bool) -> Iterator[_Slab]:
        """Copy slab after slab into the same buffers; a slab is valid until the next is drawn."""
        depth = self.size[0]
        query_flat, key_flat = self.side(self.channels), self.bordered(self.channels)
        mask_flat = self.bordered(1) if mask_outside else None
        for item in range(query.shape[0]):
            for head in range(self.heads):
                rows = slice(head * self.channels, (head + 1) * self.channels)
                for start in range(0, depth, self.planes):
                    stop = min(start + self.planes, depth)
                    planes = stop - start
                    self.inside(query_flat, planes).copy_(query[item, rows, start:stop])
                    self._fill(self.inside_border(key_flat, planes), key[item, rows], start, 0.0)
                    if mask_flat is not None:
                        mask_flat.fill_(_OUTSIDE)
                        ones = mask_flat.new_zeros(()).expand(1, *self.size)
                        self._fill(self.inside_border(mask_flat, planes), ones, start, _OUTSIDE)
                    length = planes * self.plane
                    mask = None if mask_flat is None else mask_flat[0]
                    yield _Slab(item, head, start, stop, query_flat[:, :length], key_flat, mask)

    def _fill(self, bordered: Tensor, volume: Tensor, start: int, outside: float) -> None:
        # Plane j of the slab is plane start - 1 + j of the volume; the first and the last may lie outside.
        planes = bordered.shape[1]
        low = 1 if start == 0 else 0
        high = planes - 1 if start + planes - 2 == self.size[0] else planes
        bordered[:, low:high].copy_(volume[:, start - 1 + low : start - 1 + high])
        if low:
            bordered[:, 0].fill_(outside)
        if high < planes:
            bordered[:, -1].fill_(outside)

    def tiles(self, slab: _Slab) -> Iterator[tuple[int, int]]:
        length = slab.query.shape[1]
        for first in range(0, length, self.tile):
            yield first, min(self.tile, length - first)

    def logits(self, slab: _Slab, first: int, bias: Tensor, out: Tensor) -> Tensor:
        """Write ``q . k + bias`` of one tile into ``out``, ``(3**D, length)``."""
        length = out.shape[1]
        spread = out.view(*(3,) * len(self.size), length)
        for channel in range(self.channels):
            neighbours = self.neighbours(slab.key[channel], first, length)
            values = slab.query[channel, first : first + length]
            if channel == 0:
                torch.mul(neighbours, values, out=spread)
            else:
                spread.addcmul_(neighbours, values)
        out.add_(bias.view(-1, 1))
        if slab.mask is not None:
            mask = self.neighbours(slab.mask, first, length)
            spread.add_(mask).add_(mask.flip(tuple(range(mask.ndim - 1))))
        return out


def _buffer(whole: Tensor, length: int) -> Tensor:
    # A contiguous (rows, length) view of a scratch buffer of the same number of rows.
    rows = whole.shape[0]
    return whole.view(-1)[: rows * length].view(rows, length)


def _attend(
    query: Tensor, key: Tensor, bias: Tensor, mask_outside: bool, keep_lse: bool
) -> tuple[Tensor, Tensor | None]:
    batch, dimensions, heads = query.shape[0], query.ndim - 2, bias.shape[0]
    layout = _Layout(query, heads)
    bias = bias.to(layout.dtype)
    out = layout.new(batch, heads * dimensions, *layout.size)
    lse = layout.new(batch, heads, *layout.size) if keep_lse else None
    offsets = neighbour_offsets(dimensions, out)
    # Row 0 sums the weights, the others take the difference of the +1 and the -1 half along each axis.
    marginals = torch.cat([torch.ones_like(offsets[:, :1]), offsets], dim=1).t().contiguous()
    scratch, sums = layout.new(3**dimensions, layout.tile), layout.new(1 + dimensions, layout.tile)
    mean_flat, lse_flat = layout.side(dimensions), layout.side(1)
    for slab in layout.slabs(query, key, mask_outside):
        for first, length in layout.tiles(slab):
            weights = layout.logits(slab, first, bias[slab.head], _buffer(scratch, length))
            peak = weights.amax(0)
            weights.sub_(peak).exp_()
            total = torch.mm(marginals, weights, out=_buffer(sums, length))
            torch.div(total[1:], total[0], out=mean_flat[:, first : first + length])
            if lse is not None:
                torch.add(total[0].log_(), peak, out=lse_flat[0, first : first + length])
        planes, place = slab.stop - slab.start, slice(slab.start, slab.stop)
        rows = slice(slab.head * dimensions, (slab.head + 1) * dimensions)
        out[slab.item, rows, place].copy_(layout.inside(mean_flat, planes))
        if lse is not None:
            lse[slab.item, slab.head, place].copy_(layout.inside(lse_flat, planes)[0])
    return out, lse


def _gradients(
    query: Tensor, key: Tensor, bias: Tensor, out: Tensor, lse: Tensor, grad: Tensor, mask_outside: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and bias.

    With the weights ``p_o = exp(logit_o - lse)`` and ``r = g . out``: ``ds_o = p_o (g . o - r)``,
    ``dq(x) = sum_o ds_o(x) k(x + o)``, ``dk(x + o) += ds_o(x) q(x)``, ``dbias_o = sum_x ds_o(x)``.
    """
    dimensions, heads = query.ndim - 2, bias.shape[0]
    layout = _Layout(query, heads)
    bias = bias.to(layout.dtype)
    grad_query, grad_bias = torch.empty_like(query), torch.zeros_like(bias).view(heads, -1)
    grad_key = torch.zeros_like(key, dtype=layout.dtype)
    # (offset, -1) times (g, r) is g . o - r.
    offsets = neighbour_offsets(dimensions, out)
    against = torch.cat([offsets, -torch.ones_like(offsets[:, :1])], dim=1)
    scratch, slopes = layout.new(3**dimensions, layout.tile), layout.new(3**dimensions, layout.tile)
    # The positions without meaning keep a huge log-sum-exp, hence no weight.
    grad_flat, lse_flat = layout.side(dimensions + 1), layout.side(1).fill_(-_OUTSIDE)
    query_grad_flat, key_grad_flat = layout.side(layout.channels), layout.bordered(layout.channels)
    for slab in layout.slabs(query, key, mask_outside):
        planes, place = slab.stop - slab.start, slice(slab.start, slab.stop)
        rows = slice(slab.head * dimensions, (slab.head + 1) * dimensions)
        channels = slice(slab.head * layout.channels, (slab.head + 1) * layout.channels)
        incoming = layout.inside(grad_flat, planes)
        incoming[:-1].copy_(grad[slab.item, rows, place])
        incoming[-1].copy_((grad[slab.item, rows, place] * out[slab.item, rows, place]).sum(0))
        layout.inside(lse_flat, planes)[0].copy_(lse[slab.item, slab.head, place])
        query_grad_flat.zero_()
        key_grad_flat.zero_()
        for first, length in layout.tiles(slab):
            here = slice(first, first + length)
            weights = layout.logits(slab, first, bias[slab.head], _buffer(scratch, length))
            weights.sub_(lse_flat[0, here]).exp_()
            slope = torch.mm(against, grad_flat[:, here], out=_buffer(slopes, length)).mul_(weights)
            grad_bias[slab.head] += slope.sum(1)
            for row, shift in zip(slope, layout.shifts, strict=True):
                there = slice(first + shift, first + shift + length)
                query_grad_flat[:, here].addcmul_(slab.key[:, there], row)
                key_grad_flat[:, there].addcmul_(slab.query[:, here], row)
        grad_query[slab.item, channels, place].copy_(layout.inside(query_grad_flat, planes))
        low, high = max(slab.start - 1, 0), min(slab.stop + 1, layout.size[0])
        bordered = layout.inside_border(key_grad_flat, planes)
        grad_key[slab.item, channels, low:high] += bordered[:, low - slab.start + 1 : high - slab.start + 1]
    return grad_query, grad_key.to(key.dtype), grad_bias.view(bias.shape)


class _LocalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, bias: Tensor, mask_outside: bool) -> Tensor:
        out, lse = _attend(query, key, bias, mask_outside, keep_lse=True)
        ctx.mask_outside = mask_outside
        ctx.save_for_backward(query, key, bias, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, bias, out, lse = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            return *_gradients(query, key, bias, out, lse, grad, ctx.mask_outside), None
