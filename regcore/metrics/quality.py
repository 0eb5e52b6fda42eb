"""Quality of the warped image against the fixed one, window by window: SSIM and UIQI, 1 for equal images.

Both are the mean of an index over all windows that lie wholly inside the image, at every position. The windows of a
volume are cubes; ``slicewise`` takes squares in the slices along the first axis instead, as 2D methods report it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from regcore.metrics._checks import check_finite, check_same_shape
from regcore.ops.ssim import ssim_map

_ROUNDING = 1e-6  # intensities scaled to a range may leave it by this share of it


def ssim(
    fixed: Tensor,
    warped: Tensor,
    *,
    data_range: float = 1.0,
    window: int = 11,
    sigma: float = 1.5,
    slicewise: bool = False,
) -> float:
    """Structural similarity, with the Gaussian windows and constants of `ssim_map`.

    Args:
        fixed: ``(*shape)``, 2D or 3D.
        warped: ``(*shape)``.
        data_range: largest minus smallest possible intensity; fit for images scaled to [0, 1] unless given.
        window: width along each axis, voxels (odd).
        sigma: standard deviation of the Gaussian, voxels.
        slicewise: windows within slices, for a volume.

    Returns:
        -1 to 1.

    Raises:
        ValueError: the shapes differ, NaN, intensities wider than ``data_range``, or a window that does not fit.

    Reference:
        Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004.
    """
    a, b = _planes(fixed, slicewise, "fixed"), _planes(warped, slicewise, "warped")
    check_same_shape(fixed, warped)
    width = max(float(image.max() - image.min()) for image in (a, b))
    if width > data_range * (1 + _ROUNDING):
        raise ValueError(f"data_range: expected at least the images' range of {width:g}, got {data_range:g}; pass it")
    return float(ssim_map(a, b, data_range=data_range, window=window, sigma=sigma).mean())


def uiqi(fixed: Tensor, warped: Tensor, *, window: int = 8, slicewise: bool = False) -> float:
    """Universal image quality index: the product of correlation and contrast with luminance.

    ``4 s_ab m_a m_b / ((s_a^2 + s_b^2) (m_a^2 + m_b^2))`` of the means, variances and covariance in each window. Where
    both images are constant only the second factor, ``2 m_a m_b / (m_a^2 + m_b^2)``, is left, and 1 where both are 0.
    In the same way luminance counts as 1 where both means are 0.

    Args:
        fixed: ``(*shape)``, 2D or 3D.
        warped: ``(*shape)``.
        window: width along each axis, voxels.
        slicewise: windows within slices, for a volume.

    Returns:
        -1 to 1.

    Raises:
        ValueError: the shapes differ, NaN, or a window that does not fit.

    Reference:
        Wang and Bovik, "A universal image quality index", IEEE Signal Processing Letters 2002.
    """
    a, b = _planes(fixed, slicewise, "fixed"), _planes(warped, slicewise, "warped")
    check_same_shape(fixed, warped)
    if not 2 <= window <= min(a.shape[2:]):
        raise ValueError(f"window: expected 2 to {min(a.shape[2:])} voxels, got {window}; the image bounds it")
    count = window ** (a.ndim - 2)
    sum_a, sum_b = _over_windows(a, window, torch.add), _over_windows(b, window, torch.add)
    product, squares = sum_a * sum_b, sum_a.square() + sum_b.square()
    covariance = count * _over_windows(a * b, window, torch.add) - product
    variances = count * _over_windows(a.square() + b.square(), window, torch.add) - squares
    # A constant window's variance is 0, and not what rounding leaves of it.
    varied = ~(_constant(a, window) & _constant(b, window))
    return float((_ratio(2 * covariance * varied, variances * varied) * _ratio(2 * product, squares)).mean())


def _planes(image: Tensor, slicewise: bool, name: str) -> Tensor:
    """Return ``(N, 1, *window axes)`` in float64: the moments are differences of large sums."""
    if image.ndim not in (2, 3) or (slicewise and image.ndim == 2):
        expected = "a volume to cut into slices" if slicewise else "a 2D or 3D image"
        raise ValueError(f"{name}: expected {expected}, got shape {tuple(image.shape)}")
    check_finite(name, image)
    return image.double()[:, None] if slicewise else image.double()[None, None]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, 1.0, part / whole)


def _constant(image: Tensor, window: int) -> Tensor:
    return _over_windows(image, window, torch.maximum) == _over_windows(image, window, torch.minimum)


def _over_windows(data: Tensor, width: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine the voxels of every window, ``(N, 1, *(size - width + 1))``."""
    for axis in range(2, data.ndim):
        data = _over_runs(data, axis, width, combine)
    return data


def _over_runs(data: Tensor, axis: int, width: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    # Runs double in length; those whose lengths are the binary digits of the width make up a window.
    kept = data.shape[axis] - width + 1
    total: Tensor | None = None
    done, length = 0, 1
    while True:
        if width & length:
            piece = data.narrow(axis, done, kept)
            total = piece if total is None else combine(total, piece)
            done += length
        if done == width and total is not None:
            return total
        size = data.shape[axis] - length
        data = combine(data.narrow(axis, 0, size), data.narrow(axis, length, size))
        length *= 2
