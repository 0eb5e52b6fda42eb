"""Local normalised cross-correlation, for images of one modality whose brightness varies over the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regcore.losses._inputs import check_images, in_full_precision, mean_inside
from regcore.ops.smoothing import box_sum


@in_full_precision
def lncc(
    warped: Tensor,
    fixed: Tensor,
    *,
    mask: Tensor | None = None,
    window: int | Sequence[int] = 9,
    eps: float = 1e-5,
) -> Tensor:
    """Return 1 minus the mean squared correlation ``cov(w, f)^2 / (var(w) var(f))`` over a window at each voxel.

    Only voxels inside the image, and inside the mask if there is one, enter a window: neither padding nor what lies
    outside the mask changes the result, and ``a * image + b`` gives the same as ``image``. Windows flatter than
    ``eps`` fade to no correlation. Squared correlation cannot tell an image from its negative.

    Args:
        warped: ``(N, C, *size)``, intensities about [0, 1] (``eps`` is absolute).
        fixed: ``(N, C, *size)``, likewise.
        mask: ``(N, 1, *size)``, weight of each voxel.
        window: width of the window, voxels (odd), one for all axes or one per axis.
        eps: smallest variance of a window.

    Returns:
        A scalar, 0 to 1.

    Raises:
        ValueError: shapes do not fit together, a window is even, or ``eps`` is not positive.

    Reference:
        Avants et al., "Symmetric diffeomorphic image registration with cross-correlation", Medical Image Analysis
        12(1), 2008.
    """
    check_images(warped, fixed, mask)
    widths = [window] * (fixed.ndim - 2) if isinstance(window, int) else list(window)
    if len(widths) != fixed.ndim - 2 or any(width < 1 or width % 2 == 0 for width in widths):
        raise ValueError(f"window: expected an odd number of voxels, or one for each axis, got {window}")
    if not eps > 0:
        raise ValueError(f"eps: expected a positive variance such as 1e-5, got {eps}")
    weights = fixed.new_ones(1, 1, *fixed.shape[2:]) if mask is None else mask.to(fixed)
    share = box_sum(weights, widths).clamp_min(torch.finfo(fixed.dtype).tiny).reciprocal()

    def local_mean(values: Tensor) -> Tensor:
        return _box_sum(values if mask is None else values * weights, widths) * share

    # The result does not depend on the images' means; without them float32 loses less in the differences below.
    warped, fixed = (image - _mean(image, weights) for image in (warped, fixed))
    mean_warped, mean_fixed = local_mean(warped), local_mean(fixed)
    covariance = local_mean(warped * fixed) - mean_warped * mean_fixed
    # Each variance is clamped by itself: the product of two that rounding left negative would look like a good one.
    variance_warped = (local_mean(warped.square()) - mean_warped.square()).clamp_min(eps)
    variance_fixed = (local_mean(fixed.square()) - mean_fixed.square()).clamp_min(eps)
    squared_correlation = (covariance.square() / (variance_warped * variance_fixed)).clamp_max(1)
    return 1 - mean_inside(squared_correlation, mask)


def _mean(image: Tensor, weights: Tensor) -> Tensor:
    axes = tuple(range(2, image.ndim))
    total = (image.detach() * weights).sum(axes, keepdim=True)
    return total / weights.sum(axes, keepdim=True).clamp_min(torch.finfo(image.dtype).tiny)


class _BoxSum(torch.autograd.Function):
    # A box is symmetric, so the sum is its own adjoint: nothing is kept for the way back, which costs as little.

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, data: Tensor, widths: list[int]) -> Tensor:
        ctx.widths = widths  # type: ignore[attr-defined]
        return box_sum(data, widths)

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return box_sum(grad, ctx.widths), None  # type: ignore[attr-defined]


def _box_sum(data: Tensor, widths: list[int]) -> Tensor:
    summed: Tensor = _BoxSum.apply(data, widths)  # type: ignore[no-untyped-call]
    return summed
