"""Instance normalisation followed by leaky ReLU, in place and by channels-last rows.

Kept apart, convolution output, normalised and activated map are three full-size tensors that training has
to store. Both steps are invertible, so the activated map alone is kept and the normalised one is computed
back from it.

Reference:
    Rota Bulo, Porzi, Kontschieder: In-Place Activated BatchNorm, CVPR 2018, arXiv:1712.02616 (the idea).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_ELEMENTS = {"cpu": 2**18, "cuda": 2**26}


def channels_last(data: Tensor) -> Tensor:
    """Return ``data``, ``(N, C, *size)``, stored with its channels innermost."""
    form = torch.channels_last if data.ndim == 4 else torch.channels_last_3d
    return data.contiguous(memory_format=form)


def rows(data: Tensor) -> Tensor:
    """View channels-last ``(N, C, *size)`` as ``(N, voxels, C)``; other layouts are copied."""
    return data.movedim(1, -1).reshape(data.shape[0], -1, data.shape[1])


def instance_norm_leaky_relu_(data: Tensor, slope: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Normalise each channel of each item to mean 0, variance 1, apply leaky ReLU; overwrites ``data``.

    Args:
        data: ``(N, C, *size)``, two or three spatial axes. Copied first if its channels are not innermost.
        slope: factor of negative values, positive.
        eps: added to the variance.

    Returns:
        ``(N, C, *size)``, channels innermost, dtype of ``data``; statistics are taken in float32.

    Raises:
        ValueError: ``slope`` is not positive.
    """
    if slope <= 0:
        raise ValueError(f"slope must be positive, so that the activation can be inverted, got {slope}")
    out: Tensor = _NormActivate.apply(channels_last(data), slope, eps)  # type: ignore[no-untyped-call]
    return out


def _slabs(values: Tensor) -> Iterator[slice]:
    kind = "cpu" if values.device.type == "cpu" else "cuda"
    step = max(1, _ELEMENTS[kind] // values.shape[1])
    for start in range(0, values.shape[0], step):
        yield slice(start, min(start + step, values.shape[0]))


def _column_sum(values: Tensor) -> Tensor:
    # A sum over rows as short as 8 or 16 values leaves the vector units idle: add up wide rows first.
    count, channels = values.shape
    if count % 64 == 0:
        return values.view(count // 64, 64 * channels).sum(0).view(64, channels).sum(0)
    return values.sum(0)


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance over the rows of ``(voxels, C)``, slab by slab (Chan, Golub, LeVeque 1983)."""
    mean, squares = _zeros(values), _zeros(values)
    seen = 0
    for slab in _slabs(values):
        part = _wide(values[slab])
        count = part.shape[0]
        part_mean = _column_sum(part) / count
        centred = part - part_mean
        shift = part_mean - mean
        total = seen + count
        squares += _column_sum(centred.mul_(centred)) + shift * shift * (seen * count / total)
        mean += shift * (count / total)
        seen = total
    return mean, squares / seen


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _zeros(values: Tensor) -> Tensor:
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    return torch.zeros(values.shape[-1], dtype=dtype, device=values.device)


class _NormActivate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, slope: float, eps: float) -> Tensor:
        scales = []
        for values in rows(data):
            mean, variance = _moments(values)
            scale = torch.rsqrt(variance + eps)
            shift = -mean * scale
            for slab in _slabs(values):
                part = _wide(values[slab])
                part = torch.addcmul(shift, part, scale, out=part)
                values[slab] = torch.nn.functional.leaky_relu_(part, slope)
            scales.append(scale)
        ctx.slope = slope
        ctx.mark_dirty(data)
        ctx.save_for_backward(data, torch.stack(scales))
        return data

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        result, scales = ctx.saved_tensors
        grad = channels_last(grad)
        out = torch.empty_like(grad)
        for values, incoming, target, scale in zip(rows(result), rows(grad), rows(out), scales, strict=True):
            mean, product = _zeros(values), _zeros(values)
            for slab in _slabs(values):
                normal, inner = _undo(values[slab], incoming[slab], ctx.slope)
                mean += _column_sum(inner)
                product += _column_sum(inner.mul_(normal))
            mean, product = mean / values.shape[0], product / values.shape[0]
            for slab in _slabs(values):
                normal, inner = _undo(values[slab], incoming[slab], ctx.slope)
                target[slab] = inner.sub_(mean).sub_(normal.mul_(product)).mul_(scale)
        return out, None, None


def _undo(values: Tensor, grad: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Return the normalised values and the gradient with respect to them."""
    values = _wide(values)
    factor = torch.where(values < 0, values.new_tensor(slope), values.new_tensor(1.0))
    return values / factor, _wide(grad) * factor
