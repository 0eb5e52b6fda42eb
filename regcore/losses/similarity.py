"""Squared differences of intensities, for images of one modality and one scale."""

from __future__ import annotations

from torch import Tensor

from regcore.losses._inputs import check_images, in_full_precision, mean_inside


@in_full_precision
def mse(warped: Tensor, fixed: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared difference over voxels and channels.

    Args:
        warped: ``(N, C, *size)``.
        fixed: ``(N, C, *size)``.
        mask: ``(N, 1, *size)``, weight of each voxel.

    Returns:
        A scalar, 0 for equal images.

    Raises:
        ValueError: shapes do not fit together.
    """
    check_images(warped, fixed, mask)
    return mean_inside((warped - fixed).square(), mask)


@in_full_precision
def l2(warped: Tensor, fixed: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return half the squared Euclidean distance per voxel: ``1 / (2 V) sum_x |warped(x) - fixed(x)|^2``.

    V is the number of voxels and the norm that over channels: for one channel, half of `mse`.

    Args:
        warped: ``(N, C, *size)``.
        fixed: ``(N, C, *size)``.
        mask: ``(N, 1, *size)``, weight of each voxel; V is then the sum of weights.

    Returns:
        A scalar, the mean over the batch; 0 for equal images.

    Raises:
        ValueError: shapes do not fit together.
    """
    check_images(warped, fixed, mask)
    return mean_inside(0.5 * (warped - fixed).square().sum(1, keepdim=True), mask)
