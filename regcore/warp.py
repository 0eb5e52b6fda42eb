"""Carrying images and label maps through a transform onto a grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from regcore.field import DisplacementField
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.ops.quick_sampling import sample_quickly
from regcore.ops.sampling import sample
from regcore.transform import AffineTransform, Transform

Interpolation = Literal["linear", "quick", "nearest", "label"]

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
        mode: ``linear``; ``quick``, the same in half the time for places rounded to 1/250 voxel at most; ``nearest``
            keeps values as they are; ``label`` interpolates each label linearly and keeps the strongest, which gives
            smoother borders and no new values.
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
        places = _places(image.grid, grid, transform.homogeneous, None)
    else:
        field = transform if isinstance(transform, DisplacementField) else transform.displacement_on(grid)
        places = _places(image.grid, grid, np.eye(grid.dim + 1), field.data)
    linear = mode in ("linear", "quick")
    out = torch.full(grid.shape, outside, dtype=torch.float32 if linear else image.data.dtype)
    source = image.data.to(torch.float32 if linear else _float_for(image.data))[None, None]
    labels = torch.unique(image.data) if mode == "label" else None
    for rows, here in places:
        values = _sampled(source, here, mode) if labels is None else _strongest_label(source, here, labels)
        seen = _inside(here, image.grid.shape)
        out[rows] = values.to(out.dtype) if seen is None else torch.where(seen, values.to(out.dtype), out[rows])
    return Image(out, grid, image.pixel_type)


def resample(image: Image, grid: Grid, mode: Interpolation = "linear", outside: float = 0.0) -> Image:
    """Sample ``image`` at the voxels of another grid, nothing moved."""
    return warp(image, AffineTransform.identity(grid.dim), grid, mode, outside)


def _places(source: Grid, target: Grid, linear: Matrix, displacement: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Yield, some slices at a time, where the voxels of ``target`` go in ``source``.

    The whole way from a voxel's index to the other's is one affine map plus one matrix on the displacement.

    Args:
        source: of the image that is sampled.
        target: whose voxels go there.
        linear: ``(D + 1, D + 1)``, where each point goes (mm).
        displacement: ``(D, *shape)``, how much farther (mm).

    Yields:
        The slices of the first array axis and ``(1, D, n, *rest)``, voxels of ``source`` in the order of array axes.
    """
    dim = target.dim
    whole = torch.as_tensor(source.world_to_index @ linear @ target.index_to_world)[:-1].flip(0)
    terms = []
    for axis, n in enumerate(target.shape):
        shape = [n if a == axis else 1 for a in range(dim)]
        steps = torch.arange(n, dtype=torch.float64).reshape(shape)
        terms.append(whole[:, dim - 1 - axis].view(-1, *[1] * dim) * steps)
    terms[0] = terms[0] + whole[:, -1].view(-1, *[1] * dim)
    terms = [term.float() for term in terms]
    slice_terms = sum(terms[2:], terms[1])  # the same in every slice
    matrix = torch.as_tensor(source.world_to_index[:-1, :-1].copy()).flip(0).float()
    thickness = max(1, _SLAB_VOXELS // max(1, int(np.prod(target.shape[1:]))))
    for start in range(0, target.shape[0], thickness):
        rows = slice(start, min(start + thickness, target.shape[0]))
        places = terms[0][:, rows] + slice_terms
        if displacement is not None:
            part = displacement[:, rows]
            places += (matrix @ part.reshape(dim, -1)).view_as(places)
        yield rows, places[None]


def _sampled(source: Tensor, places: Tensor, mode: str) -> Tensor:
    if mode == "quick":
        return sample_quickly(source, places)[0, 0]
    return sample(source, places, "nearest" if mode == "nearest" else "linear", padding="border")[0, 0]


def _inside(places: Tensor, size: Sequence[int]) -> Tensor | None:
    """Return which of ``places`` are in an image of ``size`` voxels, to the edges of the outer ones; None: all."""
    seen = None
    for axis, n in enumerate(size):
        along = places[0, axis]
        low, high = along.aminmax()
        if not (low >= -0.5 and high <= n - 0.5):  # so asked, NaN is outside
            within = (along >= -0.5) & (along <= n - 0.5)
            seen = within if seen is None else seen & within
    return seen


def _strongest_label(source: Tensor, places: Tensor, labels: Tensor) -> Tensor:
    best = places.new_zeros(places.shape[2:])
    label_there = torch.zeros(best.shape, dtype=labels.dtype)
    for label in labels:
        share = _sampled((source == label).float(), places, "linear")
        label_there = torch.where(share > best, label, label_there)
        best = torch.maximum(best, share)
    return label_there


def _float_for(data: Tensor) -> torch.dtype:
    """Integers beyond float32's 24 bits go through float64 unharmed."""
    exact = data.is_floating_point() or max(int(data.max()), -int(data.min())) < 1 << 24
    return torch.float32 if exact else torch.float64
