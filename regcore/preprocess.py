"""From two images anywhere in space to two tensors on one grid, and fields back again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from regcore.field import DisplacementField, from_voxels, to_voxels
from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.ops.smoothing import gaussian
from regcore.padding import unpadded
from regcore.sparse import probes
from regcore.transform import AffineTransform, Transform
from regcore.warp import resample, warp

_MOST_VOXELS = 8_000_000  # of a registration grid: a 160 x 192 x 224 volume keeps its own
_PERCENTILES = (0.1, 99.8)
_SAMPLED = 1 << 20  # voxels looked at for the percentiles
_LEAST_OVERLAP = 0.01  # of the fixed voxels


@dataclass(frozen=True)
class Inputs:
    """What is registered: two images and the regions of them that count.

    Attributes:
        fixed: any orientation.
        moving: the same dimension.
        fixed_mask: above 0 where the fixed image counts, on any grid; None: everywhere.
        moving_mask: likewise for the moving image.
        fixed_gland: above 0 inside the organ that a rigid network registers, on any grid; None: not known.
        moving_gland: likewise in the moving image.
    """

    fixed: Image
    moving: Image
    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    fixed_gland: Image | None = None
    moving_gland: Image | None = None

    def upright(self) -> Inputs:
        """Turn each to canonical order, masks onto their image's grid: storage order then changes no result."""
        fixed, moving = _upright(self.fixed), _upright(self.moving)
        return Inputs(
            fixed,
            moving,
            _mask_on(self.fixed_mask, fixed.grid),
            _mask_on(self.moving_mask, moving.grid),
            _mask_on(self.fixed_gland, fixed.grid),
            _mask_on(self.moving_gland, moving.grid),
        )

    def with_seen_parts(self) -> tuple[Inputs, str | None]:
        """Mask the padding of one image when only that one has any; return also a sentence that says so.

        Padding that both have, as in two skull-stripped brains, is background they share and helps to align them.
        """
        if self.fixed_mask is not None or self.moving_mask is not None:
            return self, None
        fixed, moving = unpadded(self.fixed), unpadded(self.moving)
        if (fixed is None) == (moving is None):
            return self, None
        side = "moving" if fixed is None else "fixed"
        sentence = f"The padding around the {side} image was left out of the comparison; pass a mask to change that."
        return replace(self, fixed_mask=fixed, moving_mask=moving), sentence


@dataclass(frozen=True)
class Pair:
    """Fixed and moving image on one grid, ready for a network or refinement.

    Attributes:
        fixed: ``(1, 1, *shape)``, about [0, 1], background 0.
        moving: the same, already moved by the initial transform.
        fixed_mask: ``(1, 1, *shape)`` of 0 and 1, or None: everything counts.
        moving_mask: likewise.
        grid: the registration grid.
    """

    fixed: Tensor
    moving: Tensor
    fixed_mask: Tensor | None
    moving_mask: Tensor | None
    grid: Grid

    def sparse(self) -> tuple[Tensor, Tensor]:
        """Return both images; of large ones every second voxel along each axis, which tells as much on the whole."""
        if self.fixed.numel() <= _SAMPLED:
            return self.fixed, self.moving
        here = (slice(None), slice(None), *[slice(None, None, 2)] * self.grid.dim)
        return self.fixed[here], self.moving[here]


def gland_of(labels: Image, name: str, values: Sequence[int] = (1,)) -> Image:
    """Return the mask of some labels of a label map: the organ that a rigid network registers.

    Raises:
        ValueError: none of them is there; ``name`` says which map.
    """
    inside = torch.isin(labels.data, torch.tensor(list(values), dtype=labels.data.dtype))
    if not bool(inside.any()):
        which = f"label {', '.join(map(str, values))}"
        raise ValueError(f"{name}: {which}, the gland, is empty; draw it, or name others with --gland-labels")
    return labels.with_data(inside.to(torch.uint8), "uint8")


def registration_grid(fixed: Grid, spacing_mm: float | None = None, most_voxels: int = _MOST_VOXELS) -> Grid:
    """Return the grid to work on, over the fixed volume and along its axes.

    Args:
        fixed: the fixed image's grid.
        spacing_mm: voxel size in all directions; by default the image's own, the finest axes coarsened until the
            grid has at most ``most_voxels``.
        most_voxels: limit on its size.
    """
    if spacing_mm is not None:
        wanted = [spacing_mm] * fixed.dim
        return fixed if np.allclose(fixed.spacing, wanted) else fixed.resampled(wanted)
    if np.prod(fixed.size) <= most_voxels:
        return fixed
    floor = min(fixed.spacing)
    while np.prod(fixed.resampled([max(s, floor) for s in fixed.spacing]).size) > most_voxels:
        floor *= 1.02
    return fixed.resampled([max(s, floor) for s in fixed.spacing])


def make_pair(inputs: Inputs, initial: Transform, grid: Grid) -> Pair:
    """Bring both images onto ``grid``, the moving one through ``initial``, and scale their intensities.

    Raises:
        ValueError: hardly any of the fixed volume is covered by the moving one.
    """
    fixed, moving = inputs.fixed, inputs.moving
    still = AffineTransform.identity(grid.dim)
    there = initial if isinstance(initial, AffineTransform) else initial.displacement_on(grid)
    if _covered(moving.grid, grid, initial) < _LEAST_OVERLAP:
        raise ValueError(
            "moving: after the initial transform it covers less than 1 % of the fixed volume; "
            "start with --init centre,affine, or pass landmarks"
        )
    own_grid = fixed.grid.same_as(grid)
    return Pair(
        normalise(fixed)[None, None] if own_grid else _onto(fixed, still, grid),
        _onto(moving, there, grid),
        _mask_onto(inputs.fixed_mask, still, grid),
        _mask_onto(inputs.moving_mask, there, grid),
        grid,
    )


def normalise(image: Image) -> Tensor:
    """Scale intensities to [0, 1] between robust percentiles; ``(*shape)`` float32; an image of one value becomes 0."""
    data = image.data.float()
    flat = data.flatten()
    looked = flat[:: max(1, flat.numel() // _SAMPLED)].numpy()
    low, high = np.percentile(looked, _PERCENTILES)
    if high <= low:
        low, high = float(data.min()), float(data.max())
    if high <= low:
        return torch.zeros_like(data)
    return ((data - float(low)) / float(high - low)).clamp_(0, 1)


def intensity_floor(image: Image) -> float:
    """Value for points outside ``image``: 0, or its least value when that is negative (air in CT)."""
    return min(0.0, float(image.data.min()))


def dense_on(displacement: Tensor, grid: Grid, target: Grid, turn: Reorientation) -> DisplacementField:
    """Return a voxel displacement of the registration grid as a field in mm.

    Where the registration grid has the fixed image's voxels, the field lies on the image's grid as stored. Where it
    is coarser, the field stays on it: finer voxels would add bytes, eight and more times as many, and no information.

    Args:
        displacement: ``(1, D, *grid.shape)``, voxels.
        grid: the registration grid, in canonical order.
        target: the fixed image's grid as stored.
        turn: from ``target`` to canonical order.
    """
    field = from_voxels(displacement.cpu(), grid)
    if not grid.same_as(turn.grid(target)):
        return field
    return DisplacementField(turn.inverse().data(field.data), target)


def displacement_from(field: DisplacementField, grid: Grid) -> Tensor:
    """Return a field as voxels of the registration grid, ``(1, D, *grid.shape)``."""
    return to_voxels(field if field.grid.same_as(grid) else field.resample(grid))


def _covered(moving: Grid, grid: Grid, initial: Transform) -> float:
    """Share of a lattice of probes of ``grid`` that ``initial`` sends into the moving volume."""
    index = moving.to_index(initial(probes(grid)))
    return float(((index >= -0.5) & (index <= np.asarray(moving.size) - 0.5)).all(axis=1).mean())


def _onto(image: Image, way: Transform | DisplacementField, grid: Grid) -> Tensor:
    """Smooth along the axes on which the voxels of ``grid`` are coarser, scale, and sample."""
    data = normalise(image)[None, None]
    # Both are in canonical order, so their axes are the same but for a small turn.
    ratios = [there / here for there, here in zip(grid.spacing[::-1], image.grid.spacing[::-1], strict=True)]
    if max(ratios) > 1.5:
        data = gaussian(data, [0.4 * ratio if ratio > 1.5 else 0.0 for ratio in ratios])
    return warp(image.with_data(data[0, 0]), way, grid, "quick").tensor


def _mask_onto(mask: Image | None, way: Transform | DisplacementField, grid: Grid) -> Tensor | None:
    if mask is None:
        return None
    there = warp(mask.with_data((mask.data > 0).float()), way, grid, "nearest")
    return there.tensor


def _upright(image: Image) -> Image:
    return Reorientation.to_canonical(image.grid).image(image)


def _mask_on(mask: Image | None, grid: Grid) -> Image | None:
    if mask is None:
        return None
    upright = _upright(mask)
    on_grid = upright if upright.grid.same_as(grid) else resample(upright, grid, "nearest")
    return on_grid.with_data((on_grid.data > 0).to(torch.uint8), "uint8")
