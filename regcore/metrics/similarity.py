"""Likeness of intensities, as numbers to report (the differentiable forms are losses)."""

from __future__ import annotations

import torch
from torch import Tensor

from regcore.metrics._checks import check_finite, check_same_shape


def ncc(fixed: Tensor, warped: Tensor, mask: Tensor | None = None) -> float:
    """Global normalised cross-correlation: Pearson's coefficient of the intensities.

    Args:
        fixed: ``(*shape)``.
        warped: ``(*shape)``.
        mask: ``(*shape)``; voxels that are not 0 count, all unless given.

    Returns:
        -1 to 1; 0 where either image has one value only.

    Raises:
        ValueError: the shapes differ, NaN where voxels count, or the mask is empty.
    """
    a, b = _voxels(fixed, warped, mask)
    # Shifted before the sums, so float32 loses nothing to a large mean.
    a, b = a - a.mean(dtype=torch.float64).float(), b - b.mean(dtype=torch.float64).float()
    product, squares_a, squares_b = (torch.sum(v, dtype=torch.float64) for v in (a * b, a * a, b * b))
    scale = float((squares_a * squares_b).sqrt())
    return float(product) / scale if scale > 0 else 0.0


def nmi(fixed: Tensor, warped: Tensor, mask: Tensor | None = None, bins: int = 64) -> float:
    """Normalised mutual information ``(H(A) + H(B)) / H(A, B)`` of a joint histogram over the full ranges.

    Args:
        fixed: ``(*shape)``.
        warped: ``(*shape)``.
        mask: ``(*shape)``; voxels that are not 0 count, all unless given.
        bins: intervals per image.

    Returns:
        1 (independent) to 2 (one determines the other); 1 where both images have one value only.

    Raises:
        ValueError: the shapes differ, NaN where voxels count, or the mask is empty.

    Reference:
        Studholme et al., "An overlap invariant entropy measure of 3D medical image alignment", Pattern
        Recognition 1999.
    """
    a, b = _voxels(fixed, warped, mask)
    joint = torch.bincount(_binned(a, bins) * bins + _binned(b, bins), minlength=bins * bins).double()
    joint = joint.reshape(bins, bins) / joint.sum()
    together = _entropy(joint)
    return float((_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / together) if together > 0 else 1.0


def _voxels(fixed: Tensor, warped: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    check_same_shape(fixed, warped)
    if mask is None:
        a, b = fixed.float().reshape(-1), warped.float().reshape(-1)
    else:
        if mask.shape != fixed.shape:
            raise ValueError(f"mask: expected shape {tuple(fixed.shape)}, got {tuple(mask.shape)}")
        inside = mask != 0
        if not bool(inside.any()):
            raise ValueError("mask: expected at least one voxel that is not 0, found none")
        a, b = fixed[inside].float(), warped[inside].float()
    check_finite("fixed", a)
    check_finite("warped", b)
    return a, b


def _binned(values: Tensor, bins: int) -> Tensor:
    low, high = values.aminmax()
    width = float(high - low) or 1.0
    return ((values - low) * (bins / width)).to(torch.int64).clamp_(0, bins - 1)


def _entropy(share: Tensor) -> Tensor:
    total: Tensor = torch.special.entr(share).sum()
    return total
