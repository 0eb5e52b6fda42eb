"""Separable box sums and Gaussians, as sums of shifted slices.

On a CPU a few additions of shifted slices are several times faster than ``conv3d`` or ``avg_pool3d`` with one channel.
Both functions take any number of spatial axes and work on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_NEGLIGIBLE = 0.2  # voxels: the neighbours' weight is less than 4e-6
_SMALLEST_WEIGHT = 1e-4  # of the middle one


def box_sum(data: Tensor, width: int | Sequence[int]) -> Tensor:
    """Sum over a box of ``width`` voxels around each voxel; the outside counts as 0.

    Args:
        data: ``(N, C, *shape)``.
        width: odd number of voxels, one for all axes or one per axis.

    Returns:
        ``(N, C, *shape)``; ``box_sum(ones_like(data), width)`` is the number of voxels each sum holds.
    """
    widths = [width] * (data.ndim - 2) if isinstance(width, int) else list(width)
    if any(n < 1 or n % 2 == 0 for n in widths):
        raise ValueError(f"width: expected odd numbers of voxels, got {width}")
    for axis, n in enumerate(widths, start=2):
        half = min(n // 2, data.shape[axis] - 1)
        if half > 0:
            total = data.clone()
            for shift in range(1, half + 1):
                _add_shifted(total, data, axis, shift, 1.0)
            data = total
    return data


def gaussian(data: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """Smooth with a Gaussian cut at three sigmas or, if nearer, below 1e-4 of its height.

    Weights that fall outside are left out and the others scaled up: a constant stays constant up to the border, as
    with ``scipy.ndimage.gaussian_filter(x, mode="constant")`` divided by the same of an image of ones.

    Args:
        data: ``(N, C, *shape)``.
        sigma: standard deviation, voxels; one for all axes or one per axis; below 0.2 an axis is left as it is.

    Returns:
        ``(N, C, *shape)``.
    """
    sigmas = [sigma] * (data.ndim - 2) if isinstance(sigma, (int, float)) else list(sigma)
    for axis, width in enumerate(sigmas, start=2):
        if width > _NEGLIGIBLE:
            data = _gaussian_axis(data, axis, gaussian_weights(width))
    return data


def gaussian_reach(sigma: float) -> int:
    """Return the distance, in voxels, beyond which `gaussian` looks at nothing."""
    return len(gaussian_weights(sigma)) - 1 if sigma > _NEGLIGIBLE else 0


def gaussian_weights(sigma: float) -> list[float]:
    """Return the weights at distance 0, 1, 2, .. of a Gaussian (``sigma`` in voxels); the two-sided sum is 1."""
    heights = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(max(1, math.ceil(3.0 * sigma)) + 1)]
    weights = heights[:2] + [height for height in heights[2:] if height >= _SMALLEST_WEIGHT]
    total = weights[0] + 2.0 * sum(weights[1:])
    return [weight / total for weight in weights]


def _gaussian_axis(data: Tensor, axis: int, weights: Sequence[float]) -> Tensor:
    size = data.shape[axis]
    reach = min(len(weights), size)
    smooth = data * weights[0]
    inside = torch.full((size,), weights[0], dtype=torch.float64)
    for shift in range(1, reach):
        _add_shifted(smooth, data, axis, shift, weights[shift])
        inside[shift:] += weights[shift]
        inside[: size - shift] += weights[shift]
    scale = inside.reciprocal().to(data).view(-1, *[1] * (data.ndim - 1 - axis))
    return smooth.mul_(scale)


def _add_shifted(total: Tensor, data: Tensor, axis: int, shift: int, weight: float) -> None:
    """Add both neighbours at distance ``shift`` along ``axis`` to ``total``, times ``weight``, in place."""
    kept = data.shape[axis] - shift
    total.narrow(axis, shift, kept).add_(data.narrow(axis, 0, kept), alpha=weight)
    total.narrow(axis, 0, kept).add_(data.narrow(axis, shift, kept), alpha=weight)
