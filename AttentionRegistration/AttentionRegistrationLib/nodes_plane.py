"""Two single slices are registered as images in their plane; what comes back is put into space again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from AttentionRegistrationLib.nodes import Array, Geometry, Matrix

_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane of two slices.

    Attributes:
        axes: ``(3, 3)``; columns are the fixed slice's i and j and the normal (LPS).
        offset: from the fixed slice to the moving one along the normal (mm).
    """

    axes: Matrix
    offset: float

    @classmethod
    def of(cls, fixed: Geometry, moving: Geometry) -> Plane | None:
        """Return the plane of two single slices; None for two volumes.

        Raises:
            ValueError: one is a slice and the other is none, or their planes are not parallel.
        """
        flat = [geometry.size[2] == 1 for geometry in (fixed, moving)]
        if not any(flat):
            return None
        if not all(flat):
            single, other = ("fixed", "moving") if flat[0] else ("moving", "fixed")
            raise ValueError(f"{single}: it is a single slice and the {other} volume is not; choose two of a kind.")
        axes = fixed.matrix[:3, :3] / fixed.spacing
        normal = axes[:, 2]
        if abs(normal @ moving.matrix[:3, 2]) / moving.spacing[2] < 1 - _TOLERANCE:
            raise ValueError(
                "moving: the two slices are not parallel; put the moving one under a transform that turns it."
            )
        return cls(axes, float(normal @ (moving.matrix[:3, 3] - fixed.matrix[:3, 3])))

    @property
    def back(self) -> Plane:
        """The same plane for a transform from the moving slice to the fixed one."""
        return Plane(self.axes, -self.offset)

    def message(self, geometry: Geometry, array: str, role: str) -> dict[str, object]:
        """Return what the worker is told of a slice in file ``array``.

        Raises:
            ValueError: it is none.
        """
        if geometry.size[2] != 1:
            raise ValueError(f"{role}: expected a single slice as the volumes are; choose another.")
        matrix = self.axes.T @ geometry.matrix[:3]
        spacing = np.linalg.norm(matrix[:2, :2], axis=0)
        return {
            "array": array,
            "spacing": spacing.tolist(),
            "origin": matrix[:2, 3].tolist(),
            "direction": (matrix[:2, :2] / spacing).ravel().tolist(),
        }

    def points(self, points: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return points (LPS mm) as they lie in the plane."""
        return (np.asarray(points, dtype=np.float64) @ self.axes)[:, :2].tolist()

    def start(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return the part of a map (LPS mm) that moves within the plane.

        Raises:
            ValueError: it turns out of the plane.
        """
        matrix = np.asarray(rows, dtype=np.float64)
        linear = self.axes.T @ matrix[:3, :3] @ self.axes
        if max(np.abs(linear[2, :2]).max(), np.abs(linear[:2, 2]).max()) > _TOLERANCE:
            raise ValueError("start: the transform turns the slice out of its plane; choose another.")
        made = np.eye(3)
        made[:2, :2], made[:2, 2] = linear[:2, :2], (self.axes.T @ matrix[:3, 3])[:2]
        return made.tolist()

    def lift_rows(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return a map within the plane, ``(3, 3)``, as a map in space, ``(4, 4)`` (LPS mm)."""
        flat = np.asarray(rows, dtype=np.float64)
        linear = np.eye(3)
        linear[:2, :2] = flat[:2, :2]
        made = np.eye(4)
        made[:3, :3] = self.axes @ linear @ self.axes.T
        made[:3, 3] = self.axes @ [*flat[:2, 2], self.offset]
        return made.tolist()

    def lift_field(self, field: Array) -> Array:
        """Return vectors within the plane, ``(j, i, 2)``, as vectors in space, ``(1, j, i, 3)`` (LPS mm)."""
        vectors = field.astype(np.float64) @ self.axes[:, :2].T + self.offset * self.axes[:, 2]
        return vectors[None].astype(np.float32)
