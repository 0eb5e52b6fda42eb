"""Structural dissimilarity."""

from __future__ import annotations

from torch import Tensor

from regcore.losses._inputs import check_images, in_full_precision, mean_inside
from regcore.ops.ssim import ssim_map


@in_full_precision
def ssim(
    warped: Tensor,
    fixed: Tensor,
    *,
    mask: Tensor | None = None,
    data_range: float = 1.0,
    window: int = 11,
    sigma: float = 1.5,
) -> Tensor:
    """Return 1 minus the mean structural similarity of the windows that lie wholly inside the images.

    Args:
        warped: ``(N, C, *size)``.
        fixed: ``(N, C, *size)``.
        mask: ``(N, 1, *size)``, weight of the window around each voxel; windows see what surrounds the mask.
        data_range: largest minus smallest possible intensity.
        window: width of the window, voxels (odd).
        sigma: standard deviation of the window's Gaussian weights, voxels.

    Returns:
        A scalar, 0 for equal images, at most 2.

    Raises:
        ValueError: shapes do not fit together, or the window is even or wider than an image.

    Reference:
        Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004.
    """
    check_images(warped, fixed, mask)
    similarity = ssim_map(warped, fixed, data_range=data_range, window=window, sigma=sigma)
    if mask is not None:
        for axis, kept in enumerate(similarity.shape[2:], start=2):
            mask = mask.narrow(axis, window // 2, kept)
    return mean_inside(1 - similarity, mask)
