"""Small analytic pairs for tests: smooth blobs that can be evaluated anywhere in space."""

from __future__ import annotations

import numpy as np
import torch

from regcore.grid import Grid
from regcore.image import Image
from regcore.transform import Transform


def blobs_at(points: np.ndarray, seed: int = 3, radius: float = 30.0) -> np.ndarray:
    """Return a lopsided, head-like sum of Gaussians at ``(..., D)`` mm, in [0, 1]."""
    rng = np.random.default_rng(seed)
    dim = points.shape[-1]
    value = np.zeros(points.shape[:-1])
    for _ in range(14):
        centre, width = rng.uniform(-0.7, 0.7, dim) * radius, rng.uniform(0.15, 0.4) * radius
        value += rng.uniform(0.3, 1.0) * np.exp(-((points - centre) ** 2).sum(-1) / (2 * width**2))
    shell = 1 / (1 + np.exp((np.linalg.norm(points, axis=-1) - 1.2 * radius) / 1.5))
    return value / value.max() * shell if value.max() > 0 else value


def blob_image(grid: Grid, moved_by: Transform | None = None) -> Image:
    """Render the blobs on ``grid``, seen through ``moved_by`` when given: image(x) = blobs(moved_by(x))."""
    points = grid.points().numpy()
    seen = points if moved_by is None else moved_by(points)
    return Image(torch.from_numpy(blobs_at(seen).astype(np.float32)), grid)


def centred_grid(size: tuple[int, ...], spacing: tuple[float, ...], axes: np.ndarray | None = None) -> Grid:
    """Return a grid whose centre is the world's origin."""
    grid = Grid.of(size, spacing, None, axes)
    return Grid.of(size, spacing, (-grid.centre).tolist(), grid.axes)
