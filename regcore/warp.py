"""Carrying images and label maps through a transform onto a grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.field import DisplacementField
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.transform import AffineTransform, Transform

Interpolation = Literal["linear", "nearest", "label"]

_SLAB_VOXELS = 1 << 18  # worked on together: what a processor's cache holds


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
    if isinstance(transform, AffineTransform):
        lattices = _lattices(image.grid, grid, transform.homogeneous, None)
    else:
        field = transform if isinstance(transform, DisplacementField) else transform.displacement_on(grid)
        lattices = _lattices(image.grid, grid, np.eye(grid.dim + 1), field.data)
    linear = mode == "linear"
    out = torch.full(grid.shape, outside, dtype=torch.float32 if linear else image.data.dtype)
    source = image.data.to(torch.float32 if linear else _float_for(image.data))[None, None]
    labels = torch.unique(image.data) if mode == "label" else None
    for rows, lattice in lattices:
        values = _grid_sample(source, lattice, mode) if labels is None else _strongest_label(source, lattice, labels)
        seen = lattice.abs().amax(-1)[0] <= 1
        out[rows] = values.to(out.dtype) if bool(seen.all()) else torch.where(seen, values.to(out.dtype), out[rows])
    return Image(out, grid, image.pixel_type)


def resample(image: Image, grid: Grid, mode: Interpolation = "linear", outside: float = 0.0) -> Image:
    """Sample ``image`` at the voxels of another grid, nothing moved."""
    return warp(image, AffineTransform.identity(grid.dim), grid, mode, outside)


def _lattices(
    source: Grid, target: Grid, linear: Matrix, displacement: Tensor | None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield, some slices at a time, where the voxels of ``target`` go in ``source``, as `grid_sample` wants.

    The whole way from a voxel's index to the lattice's [-1, 1] (edges of the outer voxels, half-pixel convention) is
    one affine map plus one matrix on the displacement.

    Args:
        source: of the image that is sampled.
        target: whose voxels go there.
        linear: ``(D + 1, D + 1)``, where each point goes (mm).
        displacement: ``(D, *shape)``, how much farther (mm).

    Yields:
        The slices of the first array axis and ``(1, n, *rest, D)``, x first.
    """
    dim = target.dim
    scale = np.eye(dim + 1)
    scale[range(dim), range(dim)] = 2 / np.asarray(source.size)
    scale[:-1, -1] = 1 / np.asarray(source.size) - 1
    from_world = scale @ source.world_to_index
    whole = torch.as_tensor(from_world @ linear @ target.index_to_world)
    terms = []
    for axis, n in enumerate(target.shape):
        shape = [n if a == axis else 1 for a in range(dim)]
        steps = torch.arange(n, dtype=torch.float64).reshape(*shape, 1)
        terms.append(steps * whole[:-1, dim - 1 - axis])
    terms[0] = terms[0] + whole[:-1, -1]
    terms = [term.float() for term in terms]
    slice_terms = sum(terms[2:], terms[1])  # the same in every slice
    matrix = torch.as_tensor(from_world[:-1, :-1].T).float()
    thickness = max(1, _SLAB_VOXELS // max(1, int(np.prod(target.shape[1:]))))
    for start in range(0, target.shape[0], thickness):
        rows = slice(start, min(start + thickness, target.shape[0]))
        lattice = terms[0][rows] + slice_terms
        if displacement is not None:
            part = displacement[:, rows]
            lattice += (part.reshape(dim, -1).T @ matrix).reshape(*part.shape[1:], dim)
        yield rows, lattice[None]


def _grid_sample(source: Tensor, lattice: Tensor, mode: str) -> Tensor:
    kind = "nearest" if mode == "nearest" else "bilinear"
    sampled = F.grid_sample(source, lattice.to(source.dtype), mode=kind, padding_mode="border", align_corners=False)
    return sampled[0, 0]


def _strongest_label(source: Tensor, lattice: Tensor, labels: Tensor) -> Tensor:
    best = lattice.new_zeros(lattice.shape[1:-1])
    label_there = torch.zeros(best.shape, dtype=labels.dtype)
    for label in labels:
        share = _grid_sample((source == label).float(), lattice, "linear")
        label_there = torch.where(share > best, label, label_there)
        best = torch.maximum(best, share)
    return label_there


def _float_for(data: Tensor) -> torch.dtype:
    """Integers beyond float32's 24 bits go through float64 unharmed."""
    exact = data.is_floating_point() or max(int(data.max()), -int(data.min())) < 1 << 24
    return torch.float32 if exact else torch.float64
