"""A scalar image or label map on its grid, and how it is turned to another axis order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from regcore.grid import Grid


@dataclass(frozen=True)
class Image:
    """Scalar voxels on a `Grid`.

    Attributes:
        data: ``(*grid.shape)``, floating point for intensities, integer for labels and masks.
        grid: where the voxels lie.
        pixel_type: name of the type the voxels had on file (numpy's name), used again when writing.

    Raises:
        ValueError: if the shape of ``data`` is not the grid's.
    """

    data: Tensor
    grid: Grid
    pixel_type: str = "float32"

    def __post_init__(self) -> None:
        if tuple(self.data.shape) != self.grid.shape:
            raise ValueError(f"image: data shape {tuple(self.data.shape)} is not the grid's {self.grid.shape}")

    @property
    def dim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return self.grid.dim

    @property
    def tensor(self) -> Tensor:
        """The voxels as a network takes them: ``(1, 1, *shape)`` float32."""
        return self.data.float()[None, None]

    def with_data(self, data: Tensor, pixel_type: str | None = None) -> Image:
        """Return the same grid with other voxels ``(*shape)``."""
        return replace(self, data=data, pixel_type=pixel_type or self.pixel_type)


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flips of the index axes: exact, and exactly undone.

    Attributes:
        order: new index axis ``a`` is the old axis ``order[a]`` (i, j, k order).
        flipped: whether new axis ``a`` runs against the old one.
    """

    order: tuple[int, ...]
    flipped: tuple[bool, ...]

    @classmethod
    def to_canonical(cls, grid: Grid) -> Reorientation:
        """Find the turn after which the index axes run closest to +x, +y, +z of the world.

        Two files of one volume that differ in how they are stored become the same array, so every later step gives
        the same numbers for both.
        """
        remaining = np.abs(grid.axes).copy()
        order = [0] * grid.dim
        for _ in range(grid.dim):
            world, index = np.unravel_index(int(np.argmax(remaining)), remaining.shape)
            order[int(world)] = int(index)
            remaining[world, :] = -1
            remaining[:, index] = -1
        flipped = tuple(bool(grid.axes[world, index] < 0) for world, index in enumerate(order))
        return cls(tuple(order), flipped)

    def grid(self, grid: Grid) -> Grid:
        """Apply to a grid: the same points in space under other indices."""
        axes = grid.axes[:, list(self.order)] * np.where(self.flipped, -1.0, 1.0)
        start = np.zeros(grid.dim)
        for new, old in enumerate(self.order):
            start[old] = grid.size[old] - 1 if self.flipped[new] else 0
        return Grid.of(
            [grid.size[o] for o in self.order],
            [grid.spacing[o] for o in self.order],
            grid.to_world(start).tolist(),
            axes,
        )

    def data(self, data: Tensor) -> Tensor:
        """Apply to the last D axes of a tensor ``(..., *shape)``."""
        dim, lead = len(self.order), data.ndim - len(self.order)
        axes = [lead + dim - 1 - o for o in reversed(self.order)]
        turned = data.permute(*range(lead), *axes)
        reverse = [lead + dim - 1 - a for a in range(dim) if self.flipped[a]]
        return turned.flip(reverse).contiguous() if reverse else turned.contiguous()

    def inverse(self) -> Reorientation:
        """Return the turn that undoes this one."""
        order, flipped = [0] * len(self.order), [False] * len(self.order)
        for new, old in enumerate(self.order):
            order[old], flipped[old] = new, self.flipped[new]
        return Reorientation(tuple(order), tuple(flipped))

    def image(self, image: Image) -> Image:
        """Apply to an image."""
        return Image(self.data(image.data), self.grid(image.grid), image.pixel_type)


def check_finite(image: Image, name: str) -> None:
    """Refuse voxels that are NaN or infinite, and images of one value.

    Raises:
        ValueError: naming ``name``.
    """
    if image.data.is_floating_point() and not bool(torch.isfinite(image.data).all()):
        raise ValueError(f"{name}: expected finite voxels, found NaN or infinity; replace them and try again")
    if bool((image.data == image.data.flatten()[0]).all()):
        raise ValueError(f"{name}: every voxel has the same value; there is nothing to register")
