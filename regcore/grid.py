"""The sampling grid of an image or a field: size, spacing, origin, direction in LPS millimetres, as in ITK."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Matrix = NDArray[np.float64]

_DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Grid:
    """A regular lattice of points in space.

    Attributes:
        size: voxels along each index axis (i, j, k), ITK's order.
        spacing: distance between neighbours along each index axis (mm).
        origin: position of voxel 0 (mm, LPS).
        direction: columns are the unit vectors of the index axes, row-major.

    Raises:
        ValueError: for a dimension other than 2 or 3, an empty axis, a spacing that is not positive, or axes that
            are not orthonormal.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    def __post_init__(self) -> None:
        dim = len(self.size)
        if dim not in (2, 3):
            raise ValueError(f"grid: expected 2 or 3 dimensions, got {dim}")
        if (len(self.spacing), len(self.origin), len(self.direction)) != (dim, dim, dim * dim):
            raise ValueError(f"grid: spacing, origin and direction do not fit {dim} dimensions")
        if min(self.size) < 1:
            raise ValueError(f"grid: every axis needs at least one voxel, got size {self.size}")
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise ValueError(f"grid: spacing must be positive and finite (mm), got {self.spacing}")
        if not np.isfinite(self.origin).all():
            raise ValueError(f"grid: origin must be finite (mm), got {self.origin}")
        axes = self.axes
        if not np.allclose(axes.T @ axes, np.eye(dim), atol=_DIRECTION_TOLERANCE):
            raise ValueError(f"grid: direction must be orthonormal, got {self.direction}")

    @classmethod
    def of(
        cls,
        size: Sequence[int],
        spacing: Sequence[float] | None = None,
        origin: Sequence[float] | None = None,
        direction: ArrayLike | None = None,
    ) -> Grid:
        """Build a grid from any sequences; spacing 1 mm, origin 0 and identity axes unless told."""
        dim = len(size)
        axes = np.eye(dim) if direction is None else np.asarray(direction, dtype=np.float64)
        return cls(
            tuple(int(n) for n in size),
            tuple(float(s) for s in (spacing if spacing is not None else [1.0] * dim)),
            tuple(float(o) for o in (origin if origin is not None else [0.0] * dim)),
            tuple(float(d) for d in axes.ravel()),
        )

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return len(self.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """Tensor order of `size`: (k, j, i) or (j, i)."""
        return self.size[::-1]

    @cached_property
    def axes(self) -> Matrix:
        """Direction as a matrix whose columns are the index axes."""
        return np.asarray(self.direction, dtype=np.float64).reshape(len(self.size), len(self.size))

    @cached_property
    def index_to_world(self) -> Matrix:
        """Homogeneous matrix from (i, j, k) to mm."""
        matrix = np.eye(self.dim + 1)
        matrix[:-1, :-1] = self.axes * self.spacing
        matrix[:-1, -1] = self.origin
        return matrix

    @cached_property
    def world_to_index(self) -> Matrix:
        """Homogeneous matrix from mm to (i, j, k)."""
        return np.asarray(np.linalg.inv(self.index_to_world), dtype=np.float64)

    @property
    def centre(self) -> Matrix:
        """Centre of the volume (mm)."""
        return self.to_world((np.asarray(self.size) - 1) / 2)

    @property
    def extent(self) -> tuple[float, ...]:
        """Edge lengths of the volume, whole voxels counted (mm)."""
        return tuple(n * s for n, s in zip(self.size, self.spacing, strict=True))

    def to_world(self, index: ArrayLike) -> Matrix:
        """Map ``(..., D)`` continuous (i, j, k) to mm."""
        return _apply(self.index_to_world, index)

    def to_index(self, points: ArrayLike) -> Matrix:
        """Map ``(..., D)`` mm to continuous (i, j, k)."""
        return _apply(self.world_to_index, points)

    def corners(self) -> Matrix:
        """Outer corners of the volume, voxel edges included, ``(2**D, D)`` mm."""
        limits = [(-0.5, n - 0.5) for n in self.size]
        return self.to_world(np.array(list(itertools.product(*limits))))

    def same_as(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same voxels, to ``tolerance_mm`` at the corners."""
        return self.size == other.size and bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)

    def overlaps(self, other: Grid) -> bool:
        """Whether some voxel centre of one volume lies inside the other, probed on a lattice of both."""
        return self._holds_some_of(other) or other._holds_some_of(self)

    def _holds_some_of(self, other: Grid) -> bool:
        probes = [np.linspace(0, n - 1, min(n, 17)) for n in other.size]
        lattice = np.stack(np.meshgrid(*probes, indexing="ij"), axis=-1).reshape(-1, other.dim)
        index = self.to_index(other.to_world(lattice))
        return bool(((index >= -0.5) & (index <= np.asarray(self.size) - 0.5)).all(axis=1).any())

    def resampled(self, spacing: Sequence[float]) -> Grid:
        """Return the grid of another spacing (mm) over the same volume, with the same centre.

        The size is rounded up, so nothing at the border is lost.
        """
        size = [max(1, int(np.ceil(e / s - 1e-6))) for e, s in zip(self.extent, spacing, strict=True)]
        return self._around(self.centre, size, spacing)

    def _around(self, centre: Matrix, size: Sequence[int], spacing: Sequence[float]) -> Grid:
        half = self.axes @ ((np.asarray(size) - 1) / 2 * np.asarray(spacing))
        return Grid.of(size, spacing, (centre - half).tolist(), self.axes)

    def points(self, like: Tensor | None = None) -> Tensor:
        """World position of each voxel, ``(*shape, D)`` mm, component order x, y, z (float64 unless ``like``)."""
        dtype, device = (torch.float64, None) if like is None else (like.dtype, like.device)
        matrix = torch.as_tensor(self.index_to_world, dtype=dtype, device=device)
        axes = [torch.arange(n, dtype=dtype, device=device) for n in self.shape]
        index = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)
        return index @ matrix[:-1, :-1].T + matrix[:-1, -1]


def _apply(matrix: Matrix, points: ArrayLike) -> Matrix:
    values = np.asarray(points, dtype=np.float64)
    return np.asarray(values @ matrix[:-1, :-1].T + matrix[:-1, -1], dtype=np.float64)
