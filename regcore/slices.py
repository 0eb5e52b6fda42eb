"""A volume as a batch of slices, and in-plane displacements as one of the volume.

Thick slices, as of a cardiac short-axis stack, show too little across them to say what moves there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regcore.grid import Grid

_THICK = 3.0  # times the voxel's edge in the plane


@dataclass(frozen=True)
class Stack:
    """How a 3D grid is cut into slices: across its longest voxel edge, of several the last axis (k).

    Attributes:
        grid: of the volume.
        axis: array axis across the slices.
    """

    grid: Grid
    axis: int

    @classmethod
    def of(cls, grid: Grid) -> Stack:
        """Return the way to cut ``grid``.

        Raises:
            ValueError: the grid is not 3D.
        """
        if grid.dim != 3:
            raise ValueError(f"slicewise: expected a 3D volume to cut into slices, got {grid.dim}D")
        edges = grid.spacing[::-1]
        # Equal edges differ in the last digits once a header has been rounded.
        longest = max(edges) * (1 - 1e-3)
        return cls(grid, next(axis for axis, edge in enumerate(edges) if edge >= longest))

    @property
    def thick(self) -> bool:
        """Whether slices are much thicker than their pixels are wide."""
        edges = list(self.grid.spacing[::-1])
        return edges.pop(self.axis) >= _THICK * min(edges)

    def in_plane(self, spacing_mm: float) -> Stack:
        """Return the same slices with square pixels of ``spacing_mm``, no finer than they are."""
        across = 2 - self.axis  # of the grid's (i, j, k)
        finest = min(edge for n, edge in enumerate(self.grid.spacing) if n != across)
        spacing = [max(spacing_mm, finest)] * 3
        spacing[across] = self.grid.spacing[across]
        return Stack(self.grid.resampled(spacing), self.axis)

    def cut(self, volume: Tensor) -> Tensor:
        """Return ``(1, C, *shape)`` as slices ``(S, C, H, W)``, S first to last along the axis."""
        return volume.movedim(self.axis + 2, 0)[:, 0]

    def join(self, displacement: Tensor) -> Tensor:
        """Return in-plane displacements ``(S, 2, H, W)`` as ``(1, 3, *shape)``, 0 across the slices; voxels."""
        rows, columns = displacement.unbind(1)
        parts = [rows, columns]
        parts.insert(self.axis, torch.zeros_like(rows))
        return torch.stack([part.movedim(0, self.axis) for part in parts])[None]
