"""Anatomy as formulas: shapes, textures and how they are painted at any points in space.

Points are ``(3, *any)`` arrays, x, y, z first (mm, LPS). A level is about the signed distance to a surface in mm,
negative inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from regcore.grid import Grid, Matrix

Points = NDArray[np.floating]
Level = Callable[[Points], NDArray]


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid as a level function.

    Attributes:
        centre: mm.
        radii: half axes, mm.
        axes: columns are the directions of the half axes.
    """

    centre: Matrix
    radii: Matrix
    axes: Matrix = field(default_factory=lambda: np.eye(3))

    def __call__(self, points: Points) -> NDArray:
        """Return the level of ``points``."""
        shape = (3,) + (1,) * (points.ndim - 1)
        offset = points - self.centre.astype(points.dtype).reshape(shape)
        local = np.tensordot((self.axes / self.radii).T.astype(points.dtype), offset, axes=1)
        inner = np.sqrt(np.einsum("i...,i...->...", local, local))
        local /= self.radii.astype(points.dtype).reshape(shape)
        outer = np.sqrt(np.einsum("i...,i...->...", local, local))
        # The value over the length of its gradient: a distance near the surface, where it matters.
        return np.asarray(inner * (inner - 1) / np.maximum(outer, 1e-6))


@dataclass(frozen=True, eq=False)
class Waves:
    """A random smooth texture: cosines of random direction, about unit variance.

    Attributes:
        wave_vectors: ``(n, 3)`` radians per mm.
        phases: ``(n,)`` radians.
    """

    wave_vectors: Matrix
    phases: Matrix

    @classmethod
    def random(cls, rng: np.random.Generator, count: int, shortest: float, longest: float) -> Waves:
        """Draw ``count`` waves whose lengths lie between ``shortest`` and ``longest`` mm."""
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = np.exp(rng.uniform(np.log(shortest), np.log(longest), (count, 1)))
        return cls(2 * np.pi * directions / lengths, rng.uniform(0, 2 * np.pi, count))

    def __call__(self, points: Points) -> NDArray:
        """Return the texture at ``points``."""
        total = np.zeros(points.shape[1:], dtype=points.dtype)
        for vector, phase in zip(self.wave_vectors.astype(points.dtype), self.phases, strict=True):
            total += np.cos(
                vector[0] * points[0] + vector[1] * points[1] + vector[2] * points[2] + points.dtype.type(phase)
            )
        return np.asarray(total * points.dtype.type(np.sqrt(2 / len(self.phases))))


@dataclass(frozen=True, eq=False)
class Part:
    """One structure of an anatomy.

    Attributes:
        tissue: which contrast it has.
        level: where it is.
        label: its number in the label map; None leaves the label beneath.
    """

    tissue: str
    level: Level
    label: int | None = None


def paint(
    parts: Sequence[Part], contrast: Mapping[str, float], points: Points, edge: float
) -> tuple[NDArray, NDArray[np.uint8]]:
    """Paint the parts one over the other at ``points``.

    Args:
        parts: from back to front.
        contrast: intensity of each tissue.
        points: ``(3, *shape)`` mm.
        edge: softness of borders (mm), as partial volume gives.

    Returns:
        Intensities and labels, both ``(*shape)``.
    """
    value = np.zeros(points.shape[1:], dtype=points.dtype)
    labels = np.zeros(points.shape[1:], dtype=np.uint8)
    for part in parts:
        level = part.level(points)
        share = 1 / (1 + np.exp(np.clip(level / edge, -30, 30)))
        value += share * (contrast[part.tissue] - value)
        if part.label is not None:
            labels[level < 0] = part.label
    return value, labels


def surface_point(level: Level, centre: Matrix, direction: Sequence[float], reach: float = 120.0) -> Matrix:
    """Return where the ray from ``centre`` (inside) along ``direction`` leaves the shape, ``(3,)`` mm."""
    unit = np.asarray(direction, dtype=np.float64) / np.linalg.norm(direction)
    near, far = 0.0, reach
    for _ in range(40):
        middle = (near + far) / 2
        inside = level((centre + middle * unit).reshape(3, 1))[0] < 0
        near, far = (middle, far) if inside else (near, middle)
    return np.asarray(centre + near * unit)


def voxel_points(grid: Grid) -> NDArray[np.float64]:
    """Return the position of each voxel, ``(3, *shape)`` mm."""
    return np.ascontiguousarray(np.moveaxis(grid.points().numpy(), -1, 0))


def nearest_voxels(points: Matrix, grid: Grid) -> Matrix:
    """Move points ``(n, D)`` (mm) to the nearest voxel centres, where a dense truth needs no interpolation."""
    return grid.to_world(np.rint(grid.to_index(points)))


def grid_around(centre: Sequence[float], size: Sequence[int], spacing: Sequence[float], axes: Matrix) -> Grid:
    """Return the grid of that size (voxels) and spacing (mm) whose middle is ``centre`` (mm)."""
    half = axes @ ((np.asarray(size) - 1) / 2 * np.asarray(spacing))
    return Grid.of(size, spacing, (np.asarray(centre) - half).tolist(), axes)
