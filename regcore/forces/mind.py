"""Force of MIND-SSC, for images of different modalities.

The modality independent neighbourhood descriptor with self-similarity context compares an image with itself: patches
around neighbouring voxels on the edges of an octahedron (12 pairs in 3D, 4 in 2D). Heinrich et al., "Towards realtime
multimodal fusion for image-guided interventions using self-similarities", MICCAI 2013.
"""

from __future__ import annotations

from itertools import combinations, product

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.forces.gradient import derivative
from regcore.ops.smoothing import box_sum

Offset = tuple[int, ...]
_FLOOR = 1e-3  # of the mean patch difference: what counts as noise in flat regions
_PATCH = 3  # voxels


def neighbour_pairs(dim: int) -> list[tuple[Offset, Offset]]:
    """Return the pairs of face neighbours that lie sqrt(2) voxels apart: 12 in 3D, 4 in 2D."""
    faces = [tuple(sign * (i == axis) for i in range(dim)) for axis, sign in product(range(dim), (-1, 1))]
    return [(a, b) for a, b in combinations(faces, 2) if sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) == 2]


def patch_differences(image: Tensor) -> Tensor:
    """Return the mean squared difference of each pair of patches, ``(N, 1, *shape)`` to ``(N, C, *shape)``."""
    dim = image.ndim - 2
    padded = F.pad(image, [1, 1] * dim, mode="replicate")

    def moved(offset: Offset) -> Tensor:
        part = padded
        for axis, shift in enumerate(offset, start=2):
            part = part.narrow(axis, 1 + shift, image.shape[axis])
        return part

    pairs = neighbour_pairs(dim)
    squares = torch.cat([(moved(a) - moved(b)).square_() for a, b in pairs], dim=1)
    return box_sum(squares, _PATCH).mul_(1.0 / _PATCH**dim)


def mind(image: Tensor, floor: float | None = None) -> Tensor:
    """Describe each voxel by how alike the patches around it are.

    Args:
        image: ``(N, 1, *shape)``.
        floor: smallest noise estimate; by default 1/1000 of the mean patch difference of this very image.

    Returns:
        ``(N, C, *shape)`` in (0, 1], C = 12 in 3D, 4 in 2D.
    """
    differences = patch_differences(image)
    differences -= differences.amin(1, keepdim=True)
    noise = differences.mean(1, keepdim=True)
    smallest = _FLOOR * float(noise.mean()) if floor is None else floor
    return differences.div_(noise.clamp_min_(max(smallest, 1e-12))).neg_().exp_()


class MindForce:
    """Force of the mean squared difference of MIND-SSC descriptors towards one fixed image.

    The descriptor is taken of the warped image anew each time: it stays right where the image is turned or sheared.

    Args:
        fixed: ``(N, 1, *shape)``.
        moving: ``(N, 1, *shape)``; only sets what counts as noise in it.
        mask: ``(N, 1, *shape)``, weight of each fixed voxel.
    """

    reach = 4  # pairs, patches, gradient
    weak = 0.05

    def __init__(self, fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> None:
        self._descriptor = mind(fixed)
        self._floor = noise_floor(moving)
        self._mask = mask
        self.voxels = max(1.0, float(fixed.numel() if mask is None else mask.sum()))

    def __call__(self, warped: Tensor, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """See `regcore.forces.Force`; the similarity is minus the mean squared difference of the descriptors."""
        descriptor = mind(warped, self._floor)
        difference = descriptor - self._descriptor[:, :, rows]
        similarity = difference.square().mean(1, keepdim=True).neg_()
        if self._mask is not None:
            similarity *= self._mask[:, :, rows]
            difference *= self._mask[:, :, rows]
        slopes = [(derivative(descriptor, axis) * difference).sum(1, keepdim=True) for axis in range(2, warped.ndim)]
        return torch.cat(slopes, dim=1).mul_(-2.0 / descriptor.shape[1]), similarity


def noise_floor(image: Tensor) -> float:
    """Return what `mind` takes for the smallest noise of ``image`` by default."""
    differences = patch_differences(image)
    return _FLOOR * float((differences.mean(1) - differences.amin(1)).mean())
