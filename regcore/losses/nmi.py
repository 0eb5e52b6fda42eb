"""Normalised mutual information, for images of different modalities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regcore.losses._inputs import check_images, in_full_precision

_PART = 2**16  # voxels whose weights are in memory at a time: 8 MiB for 32 bins
_SMALLEST_SHARE = 1e-12  # what an empty bin's logarithm is taken of: its slope stays finite


@in_full_precision
def nmi(
    warped: Tensor,
    fixed: Tensor,
    *,
    mask: Tensor | None = None,
    bins: int = 32,
    value_range: tuple[float, float] | None = None,
) -> Tensor:
    """Return 2 minus the normalised mutual information ``(H(W) + H(F)) / H(W, F)``.

    The joint histogram is a Parzen estimate: every voxel adds cubic B-splines, four bins wide, to both axes. So it
    is smooth in the intensities, but blurred: less dependence is found between very similar images than by a plain
    histogram, and an image with itself does not reach 0. All voxels are used, a few at a time; the weights are made
    anew for the gradient, so memory does not grow with the number of bins.

    Args:
        warped: ``(N, C, *size)``; channels are compared one by one.
        fixed: ``(N, C, *size)``.
        mask: ``(N, 1, *size)``, weight of each voxel.
        bins: of each image, 4 or more.
        value_range: lowest and highest intensity; by default those of each image, taken as constants. What lies
            beyond counts as the nearer of the two and has no gradient.

    Returns:
        A scalar, 0 to 1; 1 for independent images and where either has one value only.

    Raises:
        ValueError: shapes do not fit together, there are too few bins, or the range is empty.

    Reference:
        Studholme et al., "An overlap invariant entropy measure of 3D medical image alignment", Pattern Recognition
        1999; the estimate: Mattes et al., "PET-CT image registration in the chest using free-form deformations",
        IEEE TMI 2003.
    """
    check_images(warped, fixed, mask)
    if bins < 4:
        raise ValueError(f"bins: expected 4 or more, got {bins}")
    if value_range is not None and not value_range[0] < value_range[1]:
        raise ValueError(f"value_range: expected the lower bound first, then a higher one, got {value_range}")
    found = []
    for item in range(len(fixed)):
        weights = None if mask is None else mask[item, 0].to(fixed)
        for channel in range(fixed.shape[1]):
            found.append(_information(warped[item, channel], fixed[item, channel], weights, bins, value_range))
    return 2 - torch.stack(found).mean()


def _information(
    warped: Tensor, fixed: Tensor, weights: Tensor | None, bins: int, value_range: tuple[float, float] | None
) -> Tensor:
    inside = slice(None) if weights is None else weights > 0
    warped, fixed = warped[inside].flatten(), fixed[inside].flatten()
    weights = torch.ones_like(fixed) if weights is None else weights[inside]
    if len(weights) == 0:
        return warped.sum() + 1
    positions = _positions(warped, bins, value_range), _positions(fixed, bins, value_range)
    joint: Tensor = _JointHistogram.apply(*positions, weights, bins)  # type: ignore[no-untyped-call]
    joint = joint / joint.sum()
    return (_entropy(joint.sum(1)) + _entropy(joint.sum(0))) / _entropy(joint)


def _positions(values: Tensor, bins: int, value_range: tuple[float, float] | None) -> Tensor:
    """Return where on the axis of bins each value lies; one bin stays free at either end for the splines."""
    low, high = values.detach().aminmax() if value_range is None else map(values.new_tensor, value_range)
    share = (values - low) / (high - low).clamp_min(torch.finfo(values.dtype).tiny)
    return 1 + share.clamp(0, 1) * (bins - 3)


class _JointHistogram(torch.autograd.Function):
    # The weights of all voxels would be as many images as there are bins. They are made for a few voxels at a time,
    # and once more on the way back; nothing but the positions is kept.

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, first: Tensor, second: Tensor, weights: Tensor, bins: int
    ) -> Tensor:
        ctx.save_for_backward(first, second, weights)
        ctx.bins = bins  # type: ignore[attr-defined]
        joint = first.new_zeros(bins, bins)
        for rows in _parts(len(first)):
            joint += (_splines(first[rows], bins) * weights[rows]) @ _splines(second[rows], bins).T
        return joint

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        first, second, weights = ctx.saved_tensors  # type: ignore[attr-defined]
        bins = ctx.bins  # type: ignore[attr-defined]
        of_first, of_second, *_ = (torch.empty_like(first) if on else None for on in ctx.needs_input_grad)  # type: ignore[attr-defined]
        for rows in _parts(len(first)):
            for out, own, other, table in ((of_first, first, second, grad), (of_second, second, first, grad.T)):
                if out is not None:
                    across = table @ _splines(other[rows], bins)
                    out[rows] = (across * _slopes(own[rows], bins)).sum(0) * weights[rows]
        return of_first, of_second, None, None


def _parts(voxels: int) -> list[slice]:
    return [slice(start, start + _PART) for start in range(0, voxels, _PART)]


def _splines(positions: Tensor, bins: int) -> Tensor:
    """Return what each position adds to each bin, ``(bins, voxels)``: 1 in total."""
    distance = _offsets(positions, bins).abs_()
    return ((2 - distance).relu_() ** 3).sub_((1 - distance).relu_() ** 3, alpha=4).div_(6)


def _slopes(positions: Tensor, bins: int) -> Tensor:
    """Return the derivatives of `_splines`, ``(bins, voxels)``."""
    offset = _offsets(positions, bins)
    distance = offset.abs()
    return ((1 - distance).relu_() ** 2).mul_(4).sub_((2 - distance).relu_() ** 2).mul_(0.5).mul_(offset.sign_())


def _offsets(positions: Tensor, bins: int) -> Tensor:
    return positions - torch.arange(bins, dtype=positions.dtype, device=positions.device)[:, None]


def _entropy(share: Tensor) -> Tensor:
    return -(share * share.clamp_min(_SMALLEST_SHARE).log()).sum()
