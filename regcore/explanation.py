"""What a rigid attention network looked at in two images: its maps as volumes on the grid of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regcore.crop import crop_pair, gland_crop
from regcore.explain import NUMBERS, Branch, Mode, Target, attention_of, grad_cam
from regcore.grid import Grid
from regcore.image import Image
from regcore.models.attention_reg import AttentionReg
from regcore.preprocess import Inputs
from regcore.transform import AffineTransform, Transform
from regcore.warp import resample, warp

_BRANCHES: tuple[Branch, ...] = ("fixed", "moving")


@dataclass(frozen=True)
class Explanation:
    """The maps of one pair under one transform, as they lie in the crop.

    Attributes:
        transform: the current transform, fixed to moving points.
        fixed: Grad-CAM of the fixed branch, 0 to 1.
        moving: Grad-CAM of the moving branch, 0 to 1, where the transform shows the moving content.
        over_moving: attention of the chosen voxel of the fixed image over the moving content; None: none was chosen.
        over_fixed: attention of the moving content at that place over the fixed image.
        numbers: what the network says is missing, by name (mm, degrees).
        gland: the organ in the crop, 0 or 1.
    """

    transform: AffineTransform
    fixed: Image
    moving: Image
    over_moving: Image | None
    over_fixed: Image | None
    numbers: dict[str, float]
    gland: Image

    @property
    def crop(self) -> Grid:
        """Where the network looked."""
        return self.gland.grid

    def volumes(self, fixed: Grid, moving: Grid) -> dict[str, Image]:
        """Return the maps by name on the grids of the images, 0 outside the crop; ``native`` is the moving one."""
        back = self.transform.inverse()
        found = {
            "gradcam_fixed": put_back(self.fixed, fixed),
            "gradcam_moving": put_back(self.moving, fixed),
            "gradcam_moving_native": put_back(self.moving, moving, back),
        }
        if self.over_moving is not None and self.over_fixed is not None:
            found["attention_over_fixed"] = put_back(self.over_fixed, fixed)
            found["attention_over_moving"] = put_back(self.over_moving, fixed)
            found["attention_over_moving_native"] = put_back(self.over_moving, moving, back)
        return found

    def share_in_gland(self, found: Image) -> float | None:
        """Return how much of a map lies in the organ, 0 to 1; None for an empty map."""
        total = float(found.data.sum())
        return float((found.data * self.gland.data).sum()) / total if total > 0 else None

    @property
    def gland_share(self) -> float:
        """How much of the crop the organ fills: what an even map would have in it."""
        return float(self.gland.data.mean())


def explain(
    network: AttentionReg,
    inputs: Inputs,
    transform: AffineTransform,
    *,
    mode: Mode = "activations",
    target: Target = "all",
    voxel: Sequence[int] | None = None,
) -> Explanation:
    """Return what the network looks at when it sees a pair under ``transform``.

    Args:
        network: in evaluation mode.
        inputs: 3D images and the fixed gland, on any grids.
        transform: fixed to moving points, what is known so far.
        mode: see `regcore.explain.grad_cam`.
        target: likewise.
        voxel: of the fixed image, (i, j, k), whose attention is wanted.

    Raises:
        ValueError: no gland or an empty one, nothing of the moving image in the crop, a voxel outside the image or
            the crop, or a voxel for a network without attention.
    """
    crop, gland = _crop(inputs, network.input_size)
    place = None if voxel is None else _place(voxel, inputs.fixed.grid, crop)
    fixed, moving, side_mm = crop_pair(
        inputs.fixed, inputs.moving, gland, crop, transform, network.convention.fixed_input
    )
    if not bool(moving.any()):
        raise ValueError(
            "moving: nothing of it lies in the gland's crop under this transform; pass another one with --init"
        )
    over_moving, over_fixed = (None, None) if place is None else attention_of(network, fixed, moving, place)
    fixed_map, moving_map = (
        grad_cam(network, fixed, moving, side_mm, branch=branch, mode=mode, target=target) for branch in _BRANCHES
    )
    with torch.no_grad():
        numbers = network(fixed, moving, side_mm)[0].tolist()
    seen = resample(gland, crop, "nearest")
    return Explanation(
        transform,
        _image(fixed_map, crop),
        _image(moving_map, crop),
        None if over_moving is None else _image(over_moving, crop),
        None if over_fixed is None else _image(over_fixed, crop),
        dict(zip(NUMBERS, numbers, strict=True)),
        seen.with_data((seen.data > 0).float(), "float32"),
    )


def put_back(found: Image, grid: Grid, transform: Transform | None = None) -> Image:
    """Return a map of the crop on ``grid``, 0 outside the crop.

    Args:
        found: on the crop.
        grid: of the volume to make.
        transform: from points of ``grid`` to fixed points; for the moving image's grid the inverse of the current
            transform. None: ``grid`` lies in the fixed image's space.
    """
    return resample(found, grid) if transform is None else warp(found, transform, grid)


def _crop(inputs: Inputs, size: tuple[int, int, int]) -> tuple[Grid, Image]:
    """Return the crop, and the gland on the fixed grid."""
    gland = inputs.fixed_gland
    if gland is None:
        raise ValueError("fixed-labels: the crop needs the gland; pass labels with the gland as label 1")
    if not gland.grid.same_as(inputs.fixed.grid):
        gland = resample(gland, inputs.fixed.grid, "nearest")
    return gland_crop(gland, size), gland


def _place(voxel: Sequence[int], fixed: Grid, crop: Grid) -> tuple[float, ...]:
    """Return the crop's (k, j, i) of a voxel (i, j, k) of the fixed image."""
    size, named = "x".join(map(str, fixed.size)), ",".join(map(str, voxel))
    if len(voxel) != 3 or not all(0 <= v < n for v, n in zip(voxel, fixed.size, strict=True)):
        raise ValueError(f"voxel: expected i,j,k inside the fixed image of {size} voxels, counted from 0, got {named}")
    index = crop.to_index(fixed.to_world(voxel))
    if not ((index >= -0.5) & (index <= np.asarray(crop.size) - 0.5)).all():
        middle = ",".join(str(round(v)) for v in fixed.to_index(crop.centre))
        raise ValueError(
            f"voxel: {named} lies outside the gland's crop, where the network does not look; choose one nearer to "
            f"the crop's middle at {middle}"
        )
    return tuple(index[::-1].tolist())


def _image(found: Tensor, crop: Grid) -> Image:
    return Image(found[0].cpu(), crop)
