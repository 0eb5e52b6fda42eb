"""Difference of MIND-SSC descriptors, for images of different modalities."""

from __future__ import annotations

import torch
from torch import Tensor

from regcore.forces.mind import patch_differences
from regcore.losses._inputs import check_images, in_full_precision, mean_inside

_FLOOR = 1e-3  # of the image's mean patch difference: what counts as noise in flat regions


@in_full_precision
def mind_ssc(warped: Tensor, fixed: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of the two images' MIND-SSC descriptors.

    Args:
        warped: ``(N, C, *size)``; each channel is described by itself.
        fixed: ``(N, C, *size)``.
        mask: ``(N, 1, *size)``, weight of each voxel; descriptors see two voxels beyond it.

    Returns:
        A scalar, 0 for equal images, at most 1.

    Raises:
        ValueError: shapes do not fit together.

    Reference:
        Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities",
        MICCAI 2013.
    """
    check_images(warped, fixed, mask)
    return mean_inside((mind_descriptor(warped) - mind_descriptor(fixed)).square(), mask)


def mind_descriptor(image: Tensor) -> Tensor:
    """Describe each voxel by how alike the patches around it are: `regcore.forces.mind.mind`, with a gradient.

    Args:
        image: ``(N, C, *size)``.

    Returns:
        ``(N, C * P, *size)`` in (0, 1], P = 12 in 3D, 4 in 2D; what counts as noise is taken from each image and
        channel by itself.
    """
    alone = image.flatten(0, 1).unsqueeze(1)
    differences = patch_differences(alone)
    differences = differences - differences.amin(1, keepdim=True)
    noise = differences.mean(1, keepdim=True)
    floor = _FLOOR * noise.detach().mean(dim=tuple(range(1, noise.ndim)), keepdim=True)
    descriptor = torch.exp(-differences / noise.clamp_min(floor.clamp_min(1e-12)))
    return descriptor.reshape(len(image), -1, *image.shape[2:])
