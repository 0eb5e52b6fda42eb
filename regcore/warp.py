"""Carrying images and label maps through a transform onto a grid."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image
from regcore.ops.sampling import Mode, sample
from regcore.transform import Transform, as_coordinates, inside, slabs, to_index

Interpolation = Literal["linear", "nearest", "label"]


def warp(
    image: Image,
    transform: Transform | DisplacementField,
    grid: Grid,
    mode: Interpolation = "linear",
    outside: float = 0.0,
) -> Image:
    """Sample ``image`` where ``transform`` sends the voxels of ``grid``.

    Args:
        image: the moving image.
        transform: fixed to moving points; a field must lie on ``grid``.
        grid: the fixed grid.
        mode: ``linear``; ``nearest`` keeps values as they are; ``label`` interpolates each label linearly and keeps
            the strongest, which gives smoother borders and no new values.
        outside: value where the transform leaves the image.

    Returns:
        An image on ``grid``; label modes keep the integer type.

    Raises:
        ValueError: dimensions differ, or a field lies on another grid.
    """
    if image.dim != grid.dim:
        raise ValueError(f"warp: expected a {grid.dim}D image as the grid, got {image.dim}D")
    if isinstance(transform, DisplacementField) and not transform.grid.same_as(grid):
        raise ValueError("warp: the field lies on another grid; resample it first")
    field = transform if isinstance(transform, DisplacementField) else transform.displacement_on(grid)
    linear = mode == "linear"
    out = torch.full(grid.shape, outside, dtype=torch.float32 if linear else image.data.dtype)
    source = image.data.float() if linear else image.data
    for rows, points in slabs(grid):
        index = to_index(image.grid, points + field.data[:, rows])
        values = _strongest_label(source, index) if mode == "label" else _sampled(source, index, mode)
        out[rows] = torch.where(inside(index, image.grid), values.to(out.dtype), out[rows])
    return Image(out, grid, image.pixel_type)


def resample(image: Image, grid: Grid, mode: Interpolation = "linear", outside: float = 0.0) -> Image:
    """Sample ``image`` at the voxels of another grid, nothing moved."""
    return warp(image, DisplacementField.identity(grid), grid, mode, outside)


def _sampled(data: Tensor, index: Tensor, mode: Mode) -> Tensor:
    # Integers beyond float32's 24 bits go through float64 unharmed.
    exact = data if data.is_floating_point() else data.to(_float_for(data))
    coordinates = as_coordinates(index)
    return sample(exact[None, None], coordinates.to(exact), mode, "border").reshape(index.shape[1:])


def _strongest_label(data: Tensor, index: Tensor) -> Tensor:
    coordinates = as_coordinates(index)
    best = torch.zeros(index.shape[1:])
    label_there = torch.zeros(index.shape[1:], dtype=data.dtype)
    for label in torch.unique(data):
        share = sample((data == label).float()[None, None], coordinates, "linear", "border")
        share = share.reshape(index.shape[1:])
        label_there = torch.where(share > best, label, label_there)
        best = torch.maximum(best, share)
    return label_there


def _float_for(data: Tensor) -> torch.dtype:
    return torch.float64 if int(data.abs().max()) >= 1 << 24 else torch.float32
