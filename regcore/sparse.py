"""Fewer voxels and points of a volume, for steps that need to know it only roughly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F

from regcore.grid import Grid, Matrix
from regcore.image import Image

_SHORTEST_AXIS = 16  # voxels: shorter axes are not shrunk further
_PER_AXIS = 25  # probes


def shrunk(image: Image, voxels: int, nearest: bool = False) -> Image:
    """Average blocks so that about ``voxels`` remain, finest axes first; masks keep any voxel that touches."""
    factors = [1] * image.dim
    while np.prod([n / f for n, f in zip(image.grid.size, factors, strict=True)]) > 1.5 * voxels:
        steps = [s * f for s, f in zip(image.grid.spacing, factors, strict=True)]
        room = [a for a in range(image.dim) if image.grid.size[a] / factors[a] >= _SHORTEST_AXIS]
        if not room:
            break
        factors[min(room, key=lambda a: steps[a])] += 1
    return averaged(image, factors, nearest)


def averaged(image: Image, factors: Sequence[int], nearest: bool = False) -> Image:
    """Average blocks of ``factors`` voxels along i, j, k; masks (``nearest``) keep any voxel that touches."""
    data = image.data.float()[None, None]
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[image.dim] if nearest else {2: F.avg_pool2d, 3: F.avg_pool3d}[image.dim]
    kept = pool(data, list(factors)[::-1])[0, 0]
    start = image.grid.to_world([(f - 1) / 2 for f in factors])
    spacing = [s * f for s, f in zip(image.grid.spacing, factors, strict=True)]
    return Image(kept, Grid.of(kept.shape[::-1], spacing, start.tolist(), image.grid.axes))


def probes(grid: Grid, mask: Image | None = None) -> Matrix:
    """Return a lattice of points of the volume, ``(n, D)`` mm, within the mask."""
    axes = [np.linspace(0, n - 1, min(n, _PER_AXIS)) for n in grid.size]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    index = np.rint(lattice.reshape(-1, grid.dim)).astype(int)
    if mask is not None:
        index = index[mask.data.numpy()[tuple(index.T[::-1])] > 0]
    return grid.to_world(index)
