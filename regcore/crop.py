"""The box around an organ that a rigid network looks at, and both volumes brought into it."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from regcore.frames import Frame
from regcore.grid import Grid
from regcore.image import Image
from regcore.metrics.surface import bounding_box
from regcore.models.base import FixedInput
from regcore.ops.sampling import affine_coordinates, sample
from regcore.preprocess import normalise
from regcore.sparse import averaged
from regcore.transform import AffineTransform

ENLARGED = 1.6  # the paper's box is 0.3 of the gland longer at either end

_BLOCK = 0.75  # of a crop voxel: what finer image voxels are averaged to


def gland_crop(gland: Image, size: tuple[int, int, int], enlarge: float = ENLARGED) -> Grid:
    """Return the grid of a network's crop: the gland's bounding box, enlarged about its centre.

    Its axes are the image's own, in canonical order and right-handed, so a tilted or flipped volume gives the same
    crop of the same anatomy.

    Args:
        gland: above 0 inside the organ.
        size: sides (z, y, x) of the crop in voxels.
        enlarge: length of the crop's sides over the box's.

    Raises:
        ValueError: the mask is empty or not 3D.
    """
    if gland.dim != 3:
        raise ValueError(f"gland: expected a 3D mask, got {gland.dim}D")
    box = bounding_box(gland.data > 0)
    if box is None:
        raise ValueError("gland: the mask is empty; draw the organ, or leave the mask out")
    # Voxel edges, not centres: a gland of one slice has a thickness too.
    corners = itertools.product(*[(axis.start - 0.5, axis.stop - 0.5) for axis in reversed(box)])
    axes = Frame.of(gland.grid).axes
    ends = gland.grid.to_world(np.array(list(corners))) @ axes
    low, high = ends.min(axis=0), ends.max(axis=0)
    count = np.asarray(size[::-1])
    spacing = (high - low) * enlarge / count
    origin = axes @ ((low + high) / 2 - (count - 1) / 2 * spacing)
    return Grid.of(count.tolist(), spacing.tolist(), origin.tolist(), axes)


class CropPair:
    """Both volumes, ready to be looked at in a crop under one transform after the other.

    Args:
        fixed: image, or the mask of its organ.
        moving: image.
        crop: see `gland_crop`.
        fixed_input: which of the two ``fixed`` is.
        device: where the crops are made.
    """

    def __init__(
        self, fixed: Image, moving: Image, crop: Grid, fixed_input: FixedInput, device: torch.device | str = "cpu"
    ) -> None:
        self.crop, self.device = crop, torch.device(device)
        if fixed_input == "label":
            shown, grid = (fixed.data > 0).float()[None, None].to(device), fixed.grid
        else:
            shown, grid = _prepared(fixed, crop, self.device)
        self._moving, self._grid = _prepared(moving, crop, self.device)
        self.fixed = self._look(shown, grid, torch.eye(4, dtype=torch.float64))

    @property
    def side_mm(self) -> Tensor:
        """Lengths of the crop along x, y, z, ``(1, 3)`` mm."""
        return torch.tensor([self.crop.extent], dtype=torch.float32, device=self.device)

    def moving(self, matrices: Tensor) -> Tensor:
        """Return the moving volume as affine matrices ``(N, 4, 4)``, fixed to moving points, show it in the crop.

        Returns:
            ``(N, 1, *size)``, 0 where nothing was seen.
        """
        return torch.cat([self._look(self._moving, self._grid, matrix) for matrix in matrices.double().cpu()])

    def _look(self, data: Tensor, grid: Grid, matrix: Tensor) -> Tensor:
        """Sample a volume of ``grid`` at the crop's voxels, moved by a map of the world ``(4, 4)``."""
        whole = torch.as_tensor(grid.world_to_index) @ matrix @ torch.as_tensor(self.crop.index_to_world)
        return sample(data, affine_coordinates(whole, self.crop.shape, data))


def crop_pair(
    fixed: Image, moving: Image, gland: Image, crop: Grid, transform: AffineTransform, fixed_input: FixedInput
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a network takes: fixed and moving crop ``(1, 1, *size)`` and the crop's sides ``(1, 3)`` (mm)."""
    pair = CropPair(gland if fixed_input == "label" else fixed, moving, crop, fixed_input)
    return pair.fixed, pair.moving(torch.as_tensor(transform.homogeneous)[None]), pair.side_mm


def _prepared(image: Image, crop: Grid, device: torch.device) -> tuple[Tensor, Grid]:
    """Scale intensities to [0, 1]; average blocks of voxels much finer than the crop's, or they would alias."""
    steps = [max(1, round(_BLOCK * min(crop.spacing) / s)) for s in image.grid.spacing]
    steps = [min(step, n) for step, n in zip(steps, image.grid.size, strict=True)]
    coarse = averaged(image, steps) if max(steps) > 1 else image
    return normalise(coarse)[None, None].to(device), coarse.grid
