"""An organ with a known shape and place, as a mask on any grid: what the tests of gland alignment share."""

from __future__ import annotations

import numpy as np
import torch

from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.transform import AffineTransform, RigidTransform

CENTRE = np.array([-30.0, 12.0, 105.0])  # where the awkward grids of conftest lie
SEMI_AXES = (12.0, 9.0, 6.5)


def organ(grid: Grid, moved: AffineTransform | None = None, semi_axes: tuple[float, ...] = SEMI_AXES) -> Image:
    """Return the mask of a bent, tapered ellipsoid at `CENTRE` (mm); ``moved`` takes it elsewhere."""
    points = grid.points().numpy()
    local = (points if moved is None else moved.inverse()(points)) - CENTRE
    x, y, z = np.moveaxis(local, -1, 0)
    bent = np.stack([x, y - 0.02 * x**2, z * (1 + 0.02 * x)], axis=-1)
    return Image(torch.as_tensor((np.linalg.norm(bent / semi_axes, axis=-1) < 1).astype(np.uint8)), grid, "uint8")


def ball(grid: Grid, centre: Matrix, radius: float) -> Image:
    """Return the mask of a ball (mm)."""
    far = np.linalg.norm(grid.points().numpy() - centre, axis=-1)
    return Image(torch.as_tensor((far < radius).astype(np.uint8)), grid, "uint8")


def surface(count: int = 400) -> Matrix:
    """Return points near the surface of the unmoved organ, ``(count, 3)`` mm."""
    directions = np.random.default_rng(0).normal(size=(count, 3))
    return np.asarray(CENTRE + directions / np.linalg.norm(directions, axis=1, keepdims=True) * SEMI_AXES)


def rigid(angles_deg: tuple[float, ...], shift: tuple[float, ...]) -> RigidTransform:
    """Return a motion about the organ's centre."""
    return RigidTransform.from_euler(angles_deg, shift, CENTRE)


def grid_about(centre: Matrix, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    """Return an upright grid with that centre."""
    half = (np.asarray(size) - 1) / 2 * np.asarray(spacing)
    return Grid.of(size, spacing, (np.asarray(centre) - half).tolist())
