"""The way back from moving to fixed points, with the error that remains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regcore.field import DisplacementField, from_voxels, to_voxels
from regcore.grid import Grid
from regcore.ops.inversion import invert as invert_displacement
from regcore.ops.pyramid import downsample_displacement, upsample_displacement
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, Transform, inside, to_index

_LARGE = 1_000_000  # voxels from which the search starts at half size
_TOLERANCE_MM = 0.1  # round-trip error at a voxel, also never more than this part of a voxel
_PROBES = 500_000  # points at which the round trip is measured


@dataclass(frozen=True)
class Inverse:
    """An inverse transform and how far a round trip ends from where it began.

    Attributes:
        transform: moving to fixed points.
        error_mean_mm: mean over probes of the grid whose way stays inside it.
        error_max_mm: the largest of them.
    """

    transform: Transform
    error_mean_mm: float
    error_max_mm: float


def invert(transform: Transform, grid: Grid, step: Callable[[int], None] | None = None) -> Inverse:
    """Invert a transform and measure the round trip fixed -> moving -> fixed on ``grid``.

    Args:
        transform: fixed to moving points.
        grid: where to measure; the fixed image's.
        step: called with the number of each round; may raise to cancel.

    Raises:
        ValueError: no inverse is known for a part of the transform.
    """
    parts = transform.parts if isinstance(transform, CompositeTransform) else (transform,)
    back = tuple(_invert_part(part, step) for part in reversed(parts))
    inverse = back[0] if len(back) == 1 else CompositeTransform(back)
    errors = _round_trip(parts, inverse, grid)
    return Inverse(inverse, float(errors.mean()), float(errors.max()))


def _invert_part(part: Transform, step: Callable[[int], None] | None) -> Transform:
    if isinstance(part, AffineTransform):
        return part.inverse()
    if isinstance(part, DenseTransform):
        return DenseTransform(_invert_field(part.field, step))
    raise ValueError(f"transform: no inverse is known for a {type(part).__name__}")


def _invert_field(field: DisplacementField, step: Callable[[int], None] | None) -> DisplacementField:
    forward = to_voxels(field)
    tolerance = _TOLERANCE_MM / max(1.0, *field.grid.spacing)
    initial = None
    if forward[0, 0].numel() > _LARGE:
        shape = forward.shape[2:]
        factors = [2 if n >= 32 else 1 for n in shape]
        coarse, _ = invert_displacement(downsample_displacement(forward, factors), tolerance=tolerance, step=step)
        initial = upsample_displacement(coarse, factors, shape)
    backward, _ = invert_displacement(forward, tolerance=tolerance, initial=initial, step=step)
    return from_voxels(backward, field.grid)


def _round_trip(parts: tuple[Transform, ...], inverse: Transform, grid: Grid) -> Tensor:
    """Distance in mm between each probe and its image after the round trip."""
    stride = max(1, round((np.prod(grid.size) / _PROBES) ** (1 / grid.dim)))
    axes = [torch.arange(stride // 2, n, stride, dtype=torch.float64) for n in grid.shape]
    # In the order in which fields lie in memory: sampled across it, they take three times as long.
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1]).reshape(grid.dim, -1)
    matrix = torch.as_tensor(grid.index_to_world)
    points = (matrix[:-1, :-1] @ index + matrix[:-1, -1:]).float()
    moved, stays = points, torch.ones(points.shape[1], dtype=torch.bool)
    for part in parts:
        moved = part.map(moved)
        if isinstance(part, DenseTransform):
            stays &= inside(to_index(part.field.grid, moved), part.field.grid)
    distance = (inverse.map(moved) - points).norm(dim=0)[stays]
    return distance if len(distance) else torch.full((1,), float("nan"))
