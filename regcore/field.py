"""Displacement and velocity fields that know their grid; the only two conversions between voxels and millimetres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regcore.grid import Grid
from regcore.ops import fields as kernels
from regcore.ops.inversion import invert
from regcore.ops.sampling import sample

_SAME_AXES = 1e-6  # voxels that axes taken for the same may be apart at the far end


@dataclass(frozen=True, repr=False)
class _VectorField:
    """Vectors in mm on a grid.

    Attributes:
        data: ``(D, *grid.shape)`` float32, components x, y, z in LPS (mm).
        grid: where the vectors sit.
    """

    data: Tensor
    grid: Grid

    def __post_init__(self) -> None:
        expected = (self.grid.dim, *self.grid.shape)
        if tuple(self.data.shape) != expected:
            raise ValueError(f"field: expected data of shape {expected}, got {tuple(self.data.shape)}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.grid})"


@dataclass(frozen=True, repr=False)
class DisplacementField(_VectorField):
    """The map x -> x + u(x), from fixed to moving points (mm, LPS)."""

    @classmethod
    def identity(cls, grid: Grid) -> DisplacementField:
        """Return zero displacement on ``grid``."""
        return cls(torch.zeros((grid.dim, *grid.shape)), grid)

    def compose(self, then: DisplacementField) -> DisplacementField:
        """Return ``x -> then(self(x))`` on this field's grid; ``then`` may lie on another one."""
        moved = then.resample(self.grid) if not then.grid.same_as(self.grid) else then
        return from_voxels(kernels.compose(to_voxels(self), to_voxels(moved)), self.grid)

    def invert(
        self, iterations: int = 30, tolerance_mm: float = 0.02, step: Callable[[int], None] | None = None
    ) -> tuple[DisplacementField, Tensor]:
        """Return the inverse on the same grid, and its round-trip error ``(*shape)`` in mm."""
        tolerance = tolerance_mm / max(self.grid.spacing)  # holds along every axis
        inverse, _ = invert(to_voxels(self), iterations, tolerance, step=step)
        back = from_voxels(inverse, self.grid)
        there = from_voxels(kernels.compose(inverse, to_voxels(self)), self.grid)
        return back, there.data.norm(dim=0)

    def jacobian_determinant(self) -> Tensor:
        """Return det(I + du/dx) at each voxel, ``(*shape)``; <= 0 is folding."""
        return kernels.jacobian_determinant(to_voxels(self))[0]

    def resample(self, grid: Grid) -> DisplacementField:
        """Interpolate the displacement linearly at the voxels of another grid; edge values are kept outside."""
        return DisplacementField(_sample_vectors(self, grid), grid)


@dataclass(frozen=True, repr=False)
class VelocityField(_VectorField):
    """A stationary velocity (mm per unit time, LPS) whose flow is a diffeomorphism."""

    def exp(self, steps: int | None = None) -> DisplacementField:
        """Integrate over unit time by scaling and squaring; ``steps`` squarings, chosen from the speed unless told."""
        return from_voxels(kernels.exp(_voxels(self), steps), self.grid)

    def inverse(self) -> VelocityField:
        """Return the velocity of the inverse flow."""
        return VelocityField(-self.data, self.grid)


def to_voxels(field: DisplacementField) -> Tensor:
    """Convert mm in world axes to voxels in array order: ``(1, D, *shape)``, what networks and kernels use."""
    return _voxels(field)


def from_voxels(displacement: Tensor, grid: Grid) -> DisplacementField:
    """Convert a ``(1, D, *shape)`` displacement in voxels (array order) to mm in world axes."""
    matrix = _array_to_world(grid)
    return DisplacementField(_mix(torch.as_tensor(matrix), displacement[0].float()), grid)


def _voxels(field: _VectorField) -> Tensor:
    matrix = np.linalg.inv(_array_to_world(field.grid))
    return _mix(torch.as_tensor(matrix), field.data)[None]


def _array_to_world(grid: Grid) -> np.ndarray:
    """Matrix from array-order voxel components (k, j, i) to world components (x, y, z)."""
    return (grid.axes * grid.spacing)[:, ::-1].copy()


def _mix(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Apply a (D, D) matrix to the channels of ``(D, *shape)``."""
    mixed = matrix.to(vectors) @ vectors.reshape(len(vectors), -1)
    return mixed.reshape(vectors.shape)


def _sample_vectors(field: _VectorField, grid: Grid) -> Tensor:
    points = torch.as_tensor(field.grid.world_to_index @ grid.index_to_world)
    linear, first = points[:-1, :-1], points[:-1, -1]
    if (linear - linear.diag().diag()).abs().max() * max(grid.shape) < _SAME_AXES:
        return _interpolated(field.data, grid.shape, linear.diag().flip(0), first.flip(0))
    axes = [torch.arange(n, dtype=torch.float64) for n in grid.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=0).reshape(grid.dim, -1)
    there = (linear @ index + first[:, None]).flip(0).reshape(1, grid.dim, *grid.shape)
    return sample(field.data[None], there.to(field.data), padding="border")[0]


def _interpolated(vectors: Tensor, shape: Sequence[int], step: Tensor, first: Tensor) -> Tensor:
    """Interpolate between grids whose axes are the same, one axis after the other: what `sample` gives, in less time.

    The last axis comes first, while there is little to copy; along the first one whole slabs are copied.
    """
    for axis in reversed(range(len(shape))):
        last = vectors.shape[axis + 1] - 1
        place = (first[axis] + step[axis] * torch.arange(shape[axis], dtype=torch.float64)).clamp_(0, last)
        below = place.floor().clamp_(max=max(0, last - 1)).long()
        share = (place - below).to(vectors).reshape(-1, *[1] * (vectors.ndim - axis - 2))
        low, high = (vectors.index_select(axis + 1, index) for index in (below, (below + 1).clamp_(max=last)))
        vectors = torch.lerp(low, high, share)
    return vectors
