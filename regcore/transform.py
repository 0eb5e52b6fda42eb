"""Transforms from fixed to moving points (mm, LPS): affine, rigid, dense and composite; and warping with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from regcore.field import DisplacementField
from regcore.grid import Grid, Matrix
from regcore.ops.sampling import sample


class Transform(ABC):
    """A map of points, fixed to moving, in mm."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""

    @abstractmethod
    def map(self, points: Tensor) -> Tensor:
        """Map points ``(D, *any)``, components x, y, z first (mm)."""

    def __call__(self, points: ArrayLike) -> Matrix:
        """Map points ``(..., D)`` in float64 (mm)."""
        values = torch.as_tensor(np.asarray(points, dtype=np.float64)).movedim(-1, 0)
        return np.asarray(self.map(values).movedim(0, -1).numpy())

    def displacement_on(self, grid: Grid) -> DisplacementField:
        """Return where each voxel of ``grid`` goes, minus where it is."""
        data = torch.empty((grid.dim, *grid.shape))
        for rows, points in slabs(grid):
            data[:, rows] = (self.map(points) - points).float()
        return DisplacementField(data, grid)


@dataclass(frozen=True, eq=False)
class AffineTransform(Transform):
    """``x -> matrix (x - centre) + centre + translation``.

    Attributes:
        matrix: ``(D, D)``.
        translation: ``(D,)`` mm.
        centre: fixed point of the linear part, ``(D,)`` mm.
    """

    matrix: Matrix
    translation: Matrix
    centre: Matrix

    def __post_init__(self) -> None:
        if not np.isfinite(self.homogeneous).all():
            raise ValueError("transform: expected finite numbers, found NaN or infinity")
        if abs(np.linalg.det(self.matrix)) < 1e-9:
            raise ValueError("transform: the matrix is singular; it maps the volume onto a plane")

    @classmethod
    def of(
        cls, matrix: ArrayLike, translation: ArrayLike | None = None, centre: ArrayLike | None = None
    ) -> AffineTransform:
        """Build from any sequences; no translation and centre 0 unless told."""
        linear = np.asarray(matrix, dtype=np.float64)
        zero = np.zeros(len(linear))
        shift = zero if translation is None else np.asarray(translation, dtype=np.float64)
        middle = zero if centre is None else np.asarray(centre, dtype=np.float64)
        return cls(linear, shift, middle)

    @classmethod
    def identity(cls, dim: int) -> AffineTransform:
        """Return the identity in ``dim`` dimensions."""
        return cls.of(np.eye(dim))

    @classmethod
    def from_homogeneous(cls, matrix: ArrayLike, centre: ArrayLike | None = None) -> AffineTransform:
        """Build from a ``(D + 1, D + 1)`` matrix, keeping the map and naming ``centre`` its centre."""
        full = np.asarray(matrix, dtype=np.float64)
        linear, offset = full[:-1, :-1], full[:-1, -1]
        middle = np.zeros(len(linear)) if centre is None else np.asarray(centre, dtype=np.float64)
        return cls.of(linear, offset - middle + linear @ middle, middle)

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return len(self.matrix)

    @property
    def homogeneous(self) -> Matrix:
        """The whole map as a ``(D + 1, D + 1)`` matrix."""
        full = np.eye(self.dim + 1)
        full[:-1, :-1] = self.matrix
        full[:-1, -1] = self.centre + self.translation - self.matrix @ self.centre
        return full

    def map(self, points: Tensor) -> Tensor:
        """Map points ``(D, *any)`` (mm)."""
        full = torch.as_tensor(self.homogeneous, dtype=points.dtype, device=points.device)
        moved = full[:-1, :-1] @ points.reshape(self.dim, -1) + full[:-1, -1:]
        return moved.reshape(points.shape)

    def inverse(self) -> AffineTransform:
        """Return the map back, moving to fixed."""
        return AffineTransform.from_homogeneous(np.linalg.inv(self.homogeneous), self.centre)

    def compose(self, then: AffineTransform) -> AffineTransform:
        """Return ``x -> then(self(x))``."""
        return AffineTransform.from_homogeneous(then.homogeneous @ self.homogeneous, self.centre)


@dataclass(frozen=True, eq=False)
class RigidTransform(AffineTransform):
    """An affine transform whose matrix is a rotation.

    Raises:
        ValueError: if the matrix stretches, shears or mirrors.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        turned = self.matrix.T @ self.matrix
        if not np.allclose(turned, np.eye(self.dim), atol=1e-6) or np.linalg.det(self.matrix) < 0:
            raise ValueError("transform: a rigid transform needs a rotation matrix")

    @classmethod
    def from_euler(
        cls, angles_deg: Sequence[float], translation: ArrayLike, centre: ArrayLike | None = None
    ) -> RigidTransform:
        """Build from angles about x, y, z in degrees (one angle in 2D), R = Rz Ry Rx."""
        radians = np.deg2rad(np.asarray(angles_deg, dtype=np.float64))
        if len(radians) == 1:
            matrix = _plane_rotation(radians[0])
        else:
            x, y, z = (_axis_rotation(axis, angle) for axis, angle in enumerate(radians))
            matrix = z @ y @ x
        zero = np.zeros(len(matrix))
        middle = zero if centre is None else np.asarray(centre, dtype=np.float64)
        return cls(matrix, np.asarray(translation, dtype=np.float64), middle)

    @property
    def angles_deg(self) -> tuple[float, ...]:
        """The angles of `from_euler`, with the second one in [-90, 90] degrees."""
        m = self.matrix
        if self.dim == 2:
            return (float(np.rad2deg(np.arctan2(m[1, 0], m[0, 0]))),)
        y = np.arctan2(-m[2, 0], np.hypot(m[0, 0], m[1, 0]))
        x, z = np.arctan2(m[2, 1], m[2, 2]), np.arctan2(m[1, 0], m[0, 0])
        return tuple(float(np.rad2deg(a)) for a in (x, y, z))


@dataclass(frozen=True, eq=False)
class DenseTransform(Transform):
    """A displacement field as a transform; outside its grid nothing moves, as in ITK."""

    field: DisplacementField

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.field.grid.dim

    def map(self, points: Tensor) -> Tensor:
        """Map points ``(D, *any)`` (mm)."""
        index = to_index(self.field.grid, points)
        vectors = sample(self.field.data[None], as_coordinates(index), padding="border")[0]
        moves = inside(index, self.field.grid)
        return points + (vectors.reshape(points.shape) * moves).to(points)

    def displacement_on(self, grid: Grid) -> DisplacementField:
        """Return the field itself on its own grid, interpolated elsewhere."""
        return self.field if grid.same_as(self.field.grid, 1e-6) else super().displacement_on(grid)


@dataclass(frozen=True, eq=False)
class CompositeTransform(Transform):
    """Several transforms, the first one applied first."""

    parts: tuple[Transform, ...]

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.parts[0].dim

    def map(self, points: Tensor) -> Tensor:
        """Map points ``(D, *any)`` (mm)."""
        for part in self.parts:
            points = part.map(points)
        return points

    def displacement_on(self, grid: Grid) -> DisplacementField:
        """Return the displacement of the whole chain; the first part's own field is used as it is."""
        first, rest = self.parts[0], CompositeTransform(self.parts[1:])
        moved = first.displacement_on(grid)
        if not rest.parts:
            return moved
        data = torch.empty_like(moved.data)
        for rows, points in slabs(grid):
            data[:, rows] = (rest.map(points + moved.data[:, rows]) - points).float()
        return DisplacementField(data, grid)


def _plane_rotation(angle: float) -> Matrix:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _axis_rotation(axis: int, angle: float) -> Matrix:
    matrix = np.eye(3)
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return matrix


def slabs(grid: Grid, voxels: int = 1 << 19) -> Iterator[tuple[slice, Tensor]]:
    """Yield the grid's points some slices of the first array axis at a time, to bound memory.

    Yields:
        The slice of the first array axis and its points ``(D, n, *rest)``, float32, x, y, z first (mm).
    """
    matrix = torch.as_tensor(grid.index_to_world)
    axes = [torch.arange(n, dtype=torch.float64) for n in grid.shape]
    # A sum of one small term per axis: the products are taken in float64 once per line, not per voxel.
    terms = []
    for axis, values in enumerate(axes):
        column = matrix[:-1, grid.dim - 1 - axis]
        shape = [-1 if a == axis else 1 for a in range(grid.dim)]
        terms.append(column.reshape(-1, *[1] * grid.dim) * values.reshape(1, *shape))
    terms[0] = terms[0] + matrix[:-1, -1].reshape(-1, *[1] * grid.dim)
    thickness = max(1, voxels // max(1, int(np.prod(grid.shape[1:]))))
    for start in range(0, grid.shape[0], thickness):
        rows = slice(start, min(start + thickness, grid.shape[0]))
        points = terms[0][:, rows].float()
        for term in terms[1:]:
            points = points + term.float()
        yield rows, points


def to_index(grid: Grid, points: Tensor) -> Tensor:
    """Map points ``(D, *any)`` in mm to continuous indices (i, j, k first)."""
    full = torch.as_tensor(grid.world_to_index, dtype=points.dtype, device=points.device)
    return (full[:-1, :-1] @ points.reshape(grid.dim, -1) + full[:-1, -1:]).reshape(points.shape)


def as_coordinates(index: Tensor) -> Tensor:
    """Turn indices ``(D, *any)``, i, j, k first, into the flat ``(1, D, 1, .., n)`` that `sample` takes."""
    dim = index.shape[0]
    return index.flip(0).reshape(1, dim, *[1] * (dim - 1), -1)


def inside(index: Tensor, grid: Grid) -> Tensor:
    """Whether indices ``(D, *any)`` fall within the volume, edges of voxels included, as ITK counts it."""
    limits = torch.as_tensor(grid.size, dtype=index.dtype).reshape(-1, *[1] * (index.ndim - 1))
    return ((index >= -0.5) & (index <= limits - 0.5)).all(dim=0)
