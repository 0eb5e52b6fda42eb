"""Attention of small windows of one volume over larger windows of another, centred on them.

Every key is needed by ``magnification ** 3`` windows. The enlarged windows are copied out of the volume part by
part, so that their keys and values, 27 times the volume's at a magnification of 3, never exist as a whole.

Reference:
    Shi et al.: XMorpher: Full Transformer for Deformable Medical Image Registration via Cross Attention,
    MICCAI 2022 (the windows). There, keys outside the volume are zeros; here they get no weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of keys and values copied at a time. On a CPU they should stay in the cache, and pieces of more than
# 32 MiB come as fresh pages from the system at every call, which takes longer than the attention. A GPU wants
# large pieces, and with gradients each piece costs a volume's worth of zeros in the backward pass.
_CACHED = 2**20
_LARGE = 2**27
_BATCH = 2**15  # windows at a time: CUDA's attention takes less than 2**16


def window_attention(query: Tensor, key_value: Tensor, heads: int, window: int = 2, magnification: int = 3) -> Tensor:
    """Attend from windows of ``window`` voxels a side to those ``magnification`` times as wide around them.

    The windows of the queries do not overlap and start at the first voxel; sides that ``window`` does not divide
    end in a cut window. Keys outside the volume get no weight.

    Args:
        query: ``(N, D, H, W, C)``, head by head.
        key_value: ``(N, D, H, W, 2 C)``, the keys, then the values, each head by head.
        heads: a divisor of C.
        window: side of the windows of the queries.
        magnification: how many times as wide the windows of the keys are.

    Returns:
        ``(N, D, H, W, C)``, the means of the values under the weights.

    Raises:
        ValueError: shapes that do not fit each other, or windows that cannot be centred.
    """
    _check(query, key_value, heads, window, magnification)
    size, channels = query.shape[1:4], query.shape[4]
    rest = [-n % window for n in size]
    halo = window * (magnification - 1) // 2
    whole = F.pad(query, _margin([(0, r) for r in rest])) if any(rest) else query
    queries = _windows(whole, window, window)
    keys_values = _windows(F.pad(key_value, _margin([(halo, halo + r) for r in rest])), halo * 2 + window, window)
    tables = [_outside(n, window, halo, query) for n in size]
    found = []
    for box in _boxes(queries.shape[:4], keys_values[0, 0, 0, 0].numel(), _elements(query)):
        part = queries[box].reshape(-1, window**3, heads, channels // heads).transpose(1, 2)
        pair = keys_values[box].reshape(len(part), -1, 2, heads, channels // heads)
        key, value = pair.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(part, key, value, attn_mask=_mask(tables, box, len(part)))
        found.append(attended.transpose(1, 2))
    return _joined(torch.cat(found).reshape(queries.shape), size)


def _check(query: Tensor, key_value: Tensor, heads: int, window: int, magnification: int) -> None:
    channels = query.shape[-1]
    if query.ndim != 5 or key_value.shape != (*query.shape[:4], 2 * channels):
        raise ValueError(
            "query and key_value must be (N, D, H, W, C) and (N, D, H, W, 2 C), "
            f"got {tuple(query.shape)} and {tuple(key_value.shape)}"
        )
    if heads < 1 or channels % heads:
        raise ValueError(f"heads must divide the {channels} channels, got {heads}")
    check_windows(window, magnification)


def check_windows(window: int, magnification: int) -> None:
    """Raise ``ValueError`` unless windows ``magnification`` times as wide can be centred on those of ``window``."""
    if window < 1 or magnification < 1 or window * (magnification - 1) % 2:
        raise ValueError(
            "window and magnification must be positive and window * (magnification - 1) even, so that the wide "
            f"windows can be centred, got {window} and {magnification}"
        )


def _margin(sides: list[tuple[int, int]]) -> list[int]:
    """Return the argument of `torch.nn.functional.pad` for the three axes before the channels."""
    return [0, 0, *(amount for side in reversed(sides) for amount in side)]


def _windows(volume: Tensor, side: int, stride: int) -> Tensor:
    """View ``(N, D, H, W, C)`` as ``(N, d, h, w, side, side, side, C)``."""
    for axis in (1, 2, 3):
        volume = volume.unfold(axis, side, stride)
    return volume.movedim(4, -1)


def _joined(windows: Tensor, size: torch.Size) -> Tensor:
    """Put ``(N, d, h, w, side, side, side, C)`` together again and crop it to ``(N, *size, C)``."""
    batch, d, h, w, side, _, _, channels = windows.shape
    volume = windows.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, d * side, h * side, w * side, channels)
    return volume[:, : size[0], : size[1], : size[2]]


def _elements(query: Tensor) -> int:
    return _CACHED if query.device.type == "cpu" and not torch.is_grad_enabled() else _LARGE


def _boxes(counts: torch.Size, elements: int, limit: int) -> Iterator[tuple[slice, ...]]:
    """Cut the windows, ``(N, d, h, w)`` of so many elements each, into boxes of whole rows, in their order."""
    at_a_time = min(limit // elements, _BATCH)
    below, steps = counts[3], []
    for count in reversed(counts[:3]):
        steps.append(max(1, min(count, at_a_time // below)))
        below *= count
    starts = (range(0, count, step) for count, step in zip(counts[:3], reversed(steps), strict=True))
    for start in product(*starts):
        yield tuple(slice(first, first + step) for first, step in zip(start, reversed(steps), strict=True))


def _outside(n: int, window: int, halo: int, like: Tensor) -> Tensor:
    """Return 0 where a key lies on an axis of ``n`` voxels and -inf elsewhere, ``(windows, wide side)``."""
    first = torch.arange(0, n, window, device=like.device) - halo
    position = first[:, None] + torch.arange(window + 2 * halo, device=like.device)
    return torch.zeros_like(position, dtype=like.dtype).masked_fill_((position < 0) | (position >= n), -torch.inf)


def _mask(tables: list[Tensor], box: tuple[slice, ...], count: int) -> Tensor:
    """Return what is added to the logits of the box's windows, ``(count, 1, 1, keys)``."""
    along_d, along_h = tables[0][box[1]], tables[1][box[2]]
    mask = (
        along_d[:, None, None, :, None, None]
        + along_h[:, None, None, :, None]
        + tables[2][:, None, None, :]
    )  # fmt: skip
    keys = mask[0, 0, 0].numel()
    items = count // (mask.numel() // keys)
    return mask.expand(items, *mask.shape).reshape(count, 1, 1, keys)
