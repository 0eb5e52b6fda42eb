"""The voxels on which a deformable network is explained: those of a registration, or coarser ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from regcore.deformable_step import runs_slicewise
from regcore.grid import Grid
from regcore.image import Image
from regcore.preprocess import registration_grid
from regcore.slices import Stack
from regcore.weights import find_model

MOST_VOXELS = 96**3


@dataclass(frozen=True)
class NetworkGrid:
    """What a deformable network is given: a grid, as a whole or, with ``stack``, slice by slice.

    Attributes:
        grid: along the fixed image's axes.
        stack: how it is cut into slices; None: it is not.
        usual_mm: where its voxels were made larger to save memory, those at which a registration shows the images to
            the network; else None.
    """

    grid: Grid
    stack: Stack | None = None
    usual_mm: float | None = None

    @property
    def dimensions(self) -> int:
        """Number of axes of the images that the network sees."""
        return 2 if self.stack else self.grid.dim

    @property
    def steps(self) -> list[float]:
        """Size of a voxel (mm) along the axes of the network's tensors."""
        steps = list(self.grid.spacing[::-1])
        if self.stack:
            del steps[self.stack.axis]
        return steps

    def cut(self, volume: Tensor) -> Tensor:
        """Return ``(1, 1, *shape)`` as the network takes it, ``(N, 1, *size)``."""
        return self.stack.cut(volume) if self.stack else volume

    def join(self, seen: Tensor) -> Image:
        """Return what was found for each voxel, ``(N, 1, *size)``, on the grid."""
        volume = seen[:, 0].movedim(0, self.stack.axis) if self.stack else seen[0, 0]
        return Image(volume.float().cpu(), self.grid)


def network_grid(name: str, fixed: Grid, spacing_mm: float | None = None, weights: Path | None = None) -> NetworkGrid:
    """Return what the network ``name`` is given of images on ``fixed``.

    Slopes take several times the memory of a registration, so the finest usual grid has `MOST_VOXELS`; slices do not
    have to share it.

    Args:
        name: of a deformable network.
        fixed: the fixed image's grid, in canonical order.
        spacing_mm: voxel size, however much memory that takes; None: the network's own or, where that is too large,
            a coarser one.
        weights: folder of weights, see `regcore.weights.load_trained`.

    Raises:
        ValueError: the voxel size is not positive.
    """
    if spacing_mm is not None and not 0 < spacing_mm < float("inf"):
        raise ValueError(f"spacing: expected a voxel size above 0 mm, got {spacing_mm:g}")
    slicewise = runs_slicewise(name, fixed, None, weights)
    own = find_model(name, weights, 2 if slicewise else fixed.dim).default_spacing_mm
    if slicewise:
        stack = Stack.of(fixed).in_plane(spacing_mm or own)
        return NetworkGrid(stack.grid, stack)
    usual = step = spacing_mm or max(own, min(fixed.spacing))
    while spacing_mm is None and np.prod(fixed.resampled([step] * fixed.dim).size) > MOST_VOXELS:
        step *= 1.02
    return NetworkGrid(registration_grid(fixed, step), None, usual if step > usual else None)
