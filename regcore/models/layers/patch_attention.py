"""Attention of every pixel over patches of the whole image, by correlation and transposed convolution.

The published form holds one score map per patch: 72 MB for an image of 112 by 112 pixels, twice, and a further
copy for the backward pass. Correlating with patches is the same as comparing the patch about each pixel with
them, so this is plain attention over patches as tokens, done here in blocks of pixels. The scores of a block
stay in cache, patches of the pixels exist for one block only, and the backward pass makes both anew.

Reference:
    Parbs, Koch, Mertins: Convolutive Attention for Image Registration, EUSIPCO 2022, equations 5 to 9.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_MIB = {"cpu": 64, "cuda": 1024}


@dataclass(frozen=True)
class PatchOptions:
    """How `patch_attention` works; the last four fields save time or memory, by default they do nothing.

    Attributes:
        kernel: side of the patches, odd.
        stride: step between their centres.
        scaled: divide the logits by the square root of the numbers per patch; the paper does not.
        overlap_norm: divide by the number of patches laid over each pixel; the paper does not, so that its
            result is many times as large as the values and fades towards the border.
        pool: keys and values are averaged over blocks this wide before patches are cut.
        radius: only patches whose centre is at most this far along every axis, pixels; none: all.
        share: of the patches that take part in a training step, drawn at random.
        memory_mib: for what a block of pixels needs, MiB; none: what is fastest on the device.

    Raises:
        ValueError: a field out of range.
    """

    kernel: int = 5
    stride: int = 3
    scaled: bool = True
    overlap_norm: bool = True
    pool: int = 1
    radius: int | None = None
    share: float = 1.0
    memory_mib: float | None = None

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and positive, so that patches have a centre, got {self.kernel}")
        if self.stride < 1 or self.pool < 1:
            raise ValueError(f"stride and pool must be at least 1, got {self.stride} and {self.pool}")
        if self.radius is not None and self.radius < self.stride * self.pool:
            raise ValueError(
                f"radius must be at least stride * pool = {self.stride * self.pool} pixels, so that every pixel sees a "
                f"patch, got {self.radius}"
            )
        if not 0.5 <= self.share <= 1:
            raise ValueError(f"share must be from 0.5 to 1, fewer patches bias the softmax, got {self.share}")
        if self.share < 1 and self.radius is not None:
            raise ValueError("share and radius exclude each other: a pixel might see no patch; set one of them")
        if self.memory_mib is not None and self.memory_mib <= 0:
            raise ValueError(f"memory_mib must be positive, got {self.memory_mib}")


def patch_attention(
    query: Tensor, key: Tensor, value: Tensor, options: PatchOptions, chosen: Tensor | None = None
) -> Tensor:
    """Compare each pixel's surroundings with patches of ``key`` and lay out the patches of ``value`` accordingly.

    With patches k_f and v_f about the centres 0, stride, 2 stride, ... (zeros outside the image), offsets d
    within a patch, and q the query::

        A[p, f] = sum_d q[p + d] . k_f[d],   S = softmax_f A,   B[p] = sum_d sum_f S[p - d, f] v_f[d]

    Args:
        query: ``(N, C, *size)``; the paper's K.
        key: as ``query``; the paper's Q.
        value: as ``query``.
        options: see `PatchOptions`; ``share`` is up to the caller.
        chosen: numbers of the patches that take part; none: all.

    Returns:
        B, ``(N, C, *size)``, float32, or float64 for such input.

    Raises:
        ValueError: shapes that differ.
    """
    if query.ndim < 3 or not query.shape == key.shape == value.shape:
        raise ValueError(
            "query, key and value must have one shape (N, C, *size), "
            f"got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        )
    # Sums of hundreds of products go into an exponential: half precision would lose what tells patches apart.
    with torch.autocast(query.device.type, enabled=False):
        query, key, value = (_wide(data).movedim(1, -1) for data in (query, key, value))
        size = query.shape[1:-1]
        keys, values = (
            _patches(_bordered(_pooled(data, options.pool), options.kernel), options.kernel, options.stride)
            for data in (key, value)
        )
        centres = patch_centres(size, options).to(query)
        if chosen is not None:
            keys, values, centres = keys[:, chosen], values[:, chosen], centres[chosen]
        found: Tensor = _PatchAttention.apply(query, keys, values, centres, options)  # type: ignore[no-untyped-call]
        if options.overlap_norm:
            found = found / overlap(size, options.kernel).to(query).unsqueeze(-1)
        return found.movedim(-1, 1)


def patch_centres(size: Sequence[int], options: PatchOptions) -> Tensor:
    """Return where the centres of the patches lie in an image of this size, ``(F, D)``, pixels, last axis fastest."""
    pool = options.pool
    axes = [torch.arange(0, -(-n // pool), options.stride) * pool + (pool - 1) / 2 for n in size]
    return torch.cartesian_prod(*axes).view(-1, len(size))


def overlap(size: Sequence[int], kernel: int) -> Tensor:
    """Return how many patches about the pixels of an image lie over each pixel, ``(*size)``: fewer at the border."""
    half = kernel // 2
    count = torch.ones(())
    for n in size:
        along = torch.arange(n)
        count = count.unsqueeze(-1) * (along.clamp(max=half) + along.flip(0).clamp(max=half) + 1)
    return count


def _wide(data: Tensor) -> Tensor:
    return data if data.dtype == torch.float64 else data.float()


def _pooled(data: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return data
    average = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[data.ndim - 2]
    pooled: Tensor = average(data.movedim(-1, 1), factor, ceil_mode=True)
    return pooled.movedim(1, -1)


def _bordered(data: Tensor, kernel: int) -> Tensor:
    """Put zeros around ``(N, *size, C)``, half a patch wide."""
    return F.pad(data, (0, 0, *(kernel // 2,) * (2 * (data.ndim - 2))))


def _patches(bordered: Tensor, kernel: int, stride: int) -> Tensor:
    """Cut ``(N, *size, C)`` into patches ``(N, F, kernel**D * C)``, the channels innermost."""
    dimensions = bordered.ndim - 2
    for axis in range(1, dimensions + 1):
        bordered = bordered.unfold(axis, kernel, stride)
    channels_last = bordered.movedim(dimensions + 1, -1)
    return channels_last.flatten(dimensions + 1).flatten(1, dimensions)


def _lay_out(patches: Tensor, bordered: Tensor, kernel: int) -> None:
    """Add patches ``(N, F, kernel**D * C)`` about neighbouring pixels to ``(N, *size, C)``: what `_patches` undoes."""
    size = [n - kernel + 1 for n in bordered.shape[1:-1]]
    by_offset = patches.view(len(patches), *size, -1, bordered.shape[-1])
    for number, offset in enumerate(product(range(kernel), repeat=len(size))):
        there = (slice(None), *(slice(d, d + n) for d, n in zip(offset, size, strict=True)))
        bordered[there] += by_offset[..., number, :]


class _Block(NamedTuple):
    """Some pixels of some items, and the patches that they see.

    Attributes:
        items: of the batch.
        pixels: their places in the bordered image, surroundings included, items first.
        seen: numbers of the patches.
        mask: what is added to the logits, ``(pixels, patches)``, or none.
    """

    items: slice
    pixels: tuple[slice, ...]
    seen: Tensor | slice
    mask: Tensor | None


class _PatchAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, values: Tensor, centres: Tensor, options: PatchOptions
    ) -> Tensor:
        ctx.save_for_backward(query, keys, values, centres)
        ctx.options = options
        kernel, scale = options.kernel, _scale(keys, options)
        bordered = _bordered(query, kernel)
        result = torch.zeros_like(bordered)
        for items, pixels, seen, mask in _blocks(query, keys, centres, options):
            near = _patches(bordered[pixels], kernel, 1)
            # A single head as an axis of its own: without it, torch takes the slow path on a CPU.
            near, key, value = (data.unsqueeze(1) for data in (near, keys[items, seen], values[items, seen]))
            found = F.scaled_dot_product_attention(near, key, value, attn_mask=mask, scale=scale)
            _lay_out(found.squeeze(1), result[pixels], kernel)
        return _inside(result, kernel)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, keys, values, centres = ctx.saved_tensors
        kernel, scale = ctx.options.kernel, _scale(keys, ctx.options)
        bordered, incoming = _bordered(query, kernel), _bordered(grad, kernel)
        result, grad_keys, grad_values = (torch.zeros_like(data) for data in (bordered, keys, values))
        with torch.autocast(grad.device.type, enabled=False):
            for items, pixels, seen, mask in _blocks(query, keys, centres, ctx.options):
                near, slope = _patches(bordered[pixels], kernel, 1) * scale, _patches(incoming[pixels], kernel, 1)
                key, value = keys[items, seen], values[items, seen]
                weights, grad_logits = _softmax(near @ key.mT, mask, slope @ value.mT)
                grad_values[items, seen] += weights.mT @ slope
                grad_keys[items, seen] += grad_logits.mT @ near
                _lay_out(grad_logits @ key * scale, result[pixels], kernel)
        return _inside(result, kernel), grad_keys, grad_values, None, None


def _softmax(logits: Tensor, mask: Tensor | None, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights and, for their gradient, that of the logits, ``(N, pixels, patches)``; overwrites logits."""
    if mask is not None:
        logits += mask
    with torch.enable_grad():
        weights = logits.requires_grad_().softmax(-1)
    (grad_logits,) = torch.autograd.grad(weights, logits, grad)
    return weights.detach(), grad_logits


def _scale(keys: Tensor, options: PatchOptions) -> float:
    return keys.shape[-1] ** -0.5 if options.scaled else 1.0


def _inside(bordered: Tensor, kernel: int) -> Tensor:
    half = kernel // 2
    for axis in range(1, bordered.ndim - 1):
        bordered = bordered.narrow(axis, half, bordered.shape[axis] - 2 * half)
    return bordered


def _blocks(query: Tensor, keys: Tensor, centres: Tensor, options: PatchOptions) -> Iterator[_Block]:
    """Go through all pixels of ``query``, ``(N, *size, C)``, as many at a time as the memory allows."""
    size = query.shape[1:-1]
    mib = options.memory_mib or _MIB["cpu" if query.device.type == "cpu" else "cuda"]
    # Backward holds four patches and three rows of scores for a pixel.
    limit = int(mib * 2**20 / query.element_size() / (4 * keys.shape[2] + 3 * keys.shape[1]))
    side = max(size) if options.radius is None else options.radius
    tile = _tile([min(n, side) for n in size], max(limit, 1))
    at_a_time = max(1, limit // math.prod(size))
    border = options.kernel - 1
    for first in product(*(range(0, n, step) for n, step in zip(size, tile, strict=True))):
        last = [min(begin + step, n) for begin, step, n in zip(first, tile, size, strict=True)]
        seen, mask = _window(first, last, centres, options.radius)
        there = [slice(begin, end + border) for begin, end in zip(first, last, strict=True)]
        for item in range(0, len(query), at_a_time):
            items = slice(item, item + at_a_time)
            yield _Block(items, (items, *there), seen, mask)


def _tile(tile: list[int], limit: int) -> list[int]:
    """Shrink a tile to at most ``limit`` pixels, its first axes first."""
    for axis in range(len(tile)):
        others = math.prod(tile) // tile[axis]
        tile[axis] = max(1, min(tile[axis], limit // others))
    return tile


def _window(
    first: Sequence[int], last: Sequence[int], centres: Tensor, radius: int | None
) -> tuple[Tensor | slice, Tensor | None]:
    """Return the patches that pixels from ``first`` up to ``last`` see, and the mask of those too far from each."""
    if radius is None:
        return slice(None), None
    low, high = (centres.new_tensor(corner) for corner in (first, last))
    (seen,) = ((centres >= low - radius) & (centres <= high - 1 + radius)).all(dim=1).nonzero(as_tuple=True)
    axes = [torch.arange(*ends, dtype=centres.dtype, device=centres.device) for ends in zip(first, last, strict=True)]
    pixels = torch.cartesian_prod(*axes).view(-1, len(axes))
    far = (pixels[:, None] - centres[seen]).abs().amax(dim=2) > radius
    return seen, torch.zeros_like(far, dtype=centres.dtype).masked_fill_(far, -torch.inf)
