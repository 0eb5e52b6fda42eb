"""Structural similarity as a map: differentiable, for the loss and the metric alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def ssim_map(
    a: Tensor,
    b: Tensor,
    *,
    data_range: float = 1.0,
    window: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Tensor:
    """Return the structural similarity of each window that lies wholly inside the images.

    Local moments are weighted by a Gaussian; channels are compared one by one. The defaults are those of
    ``tf.image.ssim``; the mean of the map is its result.

    Args:
        a: ``(N, C, *size)``, any number of spatial axes.
        b: ``(N, C, *size)``.
        data_range: largest minus smallest possible intensity.
        window: width of the window along each axis, voxels (odd).
        sigma: standard deviation of the Gaussian, voxels.
        k1: the luminance is stabilised by ``(k1 data_range)^2``.
        k2: contrast and structure are stabilised by ``(k2 data_range)^2``.

    Returns:
        ``(N, C, *(size - window + 1))``, -1 to 1, float32 (float64 for float64 images).

    Raises:
        ValueError: shapes differ, the window is even or wider than an image, or a scale is not positive.

    Reference:
        Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004.
    """
    _check(a, b, data_range, window, sigma)
    with torch.autocast(a.device.type, enabled=False):
        a, b = (image if image.dtype == torch.float64 else image.float() for image in (a, b))
        weights = _weights(window, sigma)
        mean_a, mean_b = _window_mean(a, weights), _window_mean(b, weights)
        product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
        covariance = _window_mean(a * b, weights) - product
        variances = _window_mean(a.square() + b.square(), weights) - squares
        c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
        return (2 * product + c1) / (squares + c1) * ((2 * covariance + c2) / (variances + c2))


def _check(a: Tensor, b: Tensor, data_range: float, window: int, sigma: float) -> None:
    if a.shape != b.shape:
        raise ValueError(f"b: expected the shape of a, {tuple(a.shape)}, got {tuple(b.shape)}; warp onto one grid")
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number of voxels, got {window}")
    if window > min(a.shape[2:]):
        raise ValueError(f"window: expected at most the image's {tuple(a.shape[2:])} voxels, got {window}; narrow it")
    if not (data_range > 0 and sigma > 0):
        raise ValueError(f"data_range, sigma: expected positive numbers, got {data_range} and {sigma}")


def _weights(window: int, sigma: float) -> list[float]:
    values = [math.exp(-0.5 * ((x - window // 2) / sigma) ** 2) for x in range(window)]
    total = sum(values)
    return [value / total for value in values]


def _window_mean(data: Tensor, weights: list[float]) -> Tensor:
    mean: Tensor = _WindowMean.apply(data, weights)  # type: ignore[no-untyped-call]
    return mean


class _WindowMean(torch.autograd.Function):
    # Left to autograd, each shifted slice is padded to the full size on the way back: four times the time.

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, data: Tensor, weights: list[float]) -> Tensor:
        ctx.weights = weights  # type: ignore[attr-defined]
        for axis in range(2, data.ndim):
            data = _gather(data, axis, weights)
        return data

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        for axis in range(2, grad.ndim):
            grad = _spread(grad, axis, ctx.weights)  # type: ignore[attr-defined]
        return grad, None


def _gather(data: Tensor, axis: int, weights: list[float]) -> Tensor:
    """Return the weighted mean of the ``len(weights)`` voxels from each voxel on."""
    kept = data.shape[axis] - len(weights) + 1
    mean = data.narrow(axis, 0, kept) * weights[0]
    for shift, weight in enumerate(weights[1:], start=1):
        mean.add_(data.narrow(axis, shift, kept), alpha=weight)
    return mean


def _spread(means: Tensor, axis: int, weights: list[float]) -> Tensor:
    """Give the mean's weights back to the voxels it was made of: the adjoint of `_gather`."""
    kept = means.shape[axis]
    size = list(means.shape)
    size[axis] += len(weights) - 1
    data = means.new_zeros(size)
    for shift, weight in enumerate(weights):
        data.narrow(axis, shift, kept).add_(means, alpha=weight)
    return data
