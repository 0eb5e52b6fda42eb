"""Two volumes on one small lattice over a region, the moving one through any rigid map."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.frames import Frame
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.metrics.surface import bounding_box
from regcore.ops.rigid import apply_matrix, rigid_inverse, rigid_matrix
from regcore.ops.sampling import Padding, affine_coordinates, sample
from regcore.ops.smoothing import gaussian
from regcore.preprocess import normalise

_BORDER = 3  # voxels of the lattice around the region: what a descriptor's slope looks at
_SMOOTHED = 0.7  # voxels of the lattice
_MOST_POINTS = 1000
_MOST_VOXELS = 300_000
_STILL = torch.eye(4, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Lattice:
    """Where the volumes are compared.

    Attributes:
        grid: cubic voxels along the fixed volume's axes, right-handed.
        inside: ``(*grid.shape)``, which voxels belong to the region.
        centre: of rotation (mm).
    """

    grid: Grid
    inside: Tensor
    centre: Matrix

    @property
    def voxel_mm(self) -> float:
        """Side of a voxel."""
        return self.grid.spacing[0]

    @cached_property
    def points(self) -> Tensor:
        """Points of the region, about a thousand, ``(P, 3)`` mm, float64."""
        points = self.grid.points()[self.inside]
        return points[:: max(1, len(points) // _MOST_POINTS)]

    @cached_property
    def radius_mm(self) -> float:
        """Root mean square distance of the region's points from the centre of rotation, at least a voxel."""
        squared = (self.points - torch.as_tensor(self.centre)).square().sum(dim=1)
        return max(float(squared.mean().sqrt()), self.voxel_mm)

    def turned(self, parameters: Tensor) -> Tensor:
        """Return the map of the world ``(4, 4)`` of six parameters (mm, degrees) along the axes, about the centre."""
        frame = _STILL.clone()
        frame[:3, :3], frame[:3, 3] = torch.as_tensor(self.grid.axes), torch.as_tensor(self.centre)
        return frame @ rigid_matrix(parameters[None])[0] @ rigid_inverse(frame[None])[0]

    def apart(self, first: Tensor, second: Tensor = _STILL) -> float:
        """Return how far two maps ``(4, 4)`` send the region's points from each other on average (mm)."""
        there = apply_matrix(torch.stack([first, second]), self.points)
        return float((there[0] - there[1]).norm(dim=1).mean())


def lattice_over(
    region: Image, fixed: Grid, voxel_mm: float, margin_mm: float = 0.0, centre: Matrix | None = None
) -> Lattice:
    """Return the lattice over ``region``, enlarged by a margin, as far as it lies in the fixed volume.

    Args:
        region: above 0 inside, on any grid.
        fixed: the fixed volume's grid.
        voxel_mm: side of the lattice's voxels; longer where a large region would need too many.
        margin_mm: how much the region grows on every side.
        centre: of rotation (mm); by default the centre of the region's box.

    Raises:
        ValueError: the region is empty or outside the fixed volume.
    """
    axes = Frame.of(fixed).axes
    low, high = region_box(region, axes)
    sides, middle = high - low + 2 * margin_mm, axes @ ((low + high) / 2)
    voxel = max(voxel_mm, float(np.prod(sides + 2 * _BORDER * voxel_mm) / _MOST_VOXELS) ** (1 / 3))
    size = np.ceil(sides / voxel).astype(int) + 2 * _BORDER
    origin = middle - axes @ ((size - 1) / 2 * voxel)
    grid = Grid.of(size.tolist(), [voxel] * 3, origin.tolist(), axes)
    drawn, _ = _look((region.data > 0).float()[None, None], region.grid, grid, _STILL, "zeros")
    _, within = _look(torch.empty(1, 1, *fixed.shape), fixed, grid, _STILL, "zeros")
    reach = round(margin_mm / voxel)
    inside = (F.max_pool3d(drawn, 2 * reach + 1, 1, reach)[0, 0] > 0.25) & within
    if not bool(inside.any()):
        raise ValueError("region: it lies outside the fixed image; draw it on that image, or leave it out")
    return Lattice(grid, inside, middle if centre is None else centre)


def region_box(region: Image, axes: Matrix) -> tuple[Matrix, Matrix]:
    """Return the least and greatest coordinates (mm) of a region's voxel centres along ``axes``.

    Raises:
        ValueError: the region is empty.
    """
    box = bounding_box(region.data > 0)
    if box is None:
        raise ValueError("region: no voxel is above 0; draw the organ, or leave the region out")
    ends = itertools.product(*[(axis.start, axis.stop - 1) for axis in reversed(box)])
    corners = region.grid.to_world(np.array(list(ends))) @ axes
    return corners.min(axis=0), corners.max(axis=0)


class View:
    """Both volumes on a lattice.

    Args:
        fixed: 3D image.
        moving: 3D image.
        lattice: see `Lattice`.
        device: where they are sampled.

    Attributes:
        lattice: as given.
        fixed: ``(1, 1, *shape)`` in [0, 1].
        source: the moving volume on its own grid, ``(1, 1, *size)``, smoothed to the lattice's voxels.
        local: the lattice's points along its axes, about the centre of rotation, ``(3, *shape)`` mm.
    """

    def __init__(self, fixed: Image, moving: Image, lattice: Lattice, device: torch.device | str = "cpu") -> None:
        self.lattice = lattice
        self.source, self._grid = _prepared(moving, lattice, device), moving.grid
        self.fixed = _look(_prepared(fixed, lattice, device), fixed.grid, lattice.grid, _STILL, "border")[0]
        self._inside = lattice.inside.to(device)
        local = (lattice.grid.points() - torch.as_tensor(lattice.centre)) @ torch.as_tensor(lattice.grid.axes)
        self.local = local.movedim(-1, 0).to(self.fixed)

    def moved(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a map ``(4, 4)``, fixed to moving points, shows, and where in the region it shows anything.

        Returns:
            ``(1, 1, *shape)``, beyond the moving volume its outermost voxels; ``(*shape)``, true where both are seen.
        """
        image, seen = _look(self.source, self._grid, self.lattice.grid, matrix, "border")
        return image, seen & self._inside


def _prepared(image: Image, lattice: Lattice, device: torch.device | str) -> Tensor:
    sigma = [_SMOOTHED * lattice.voxel_mm / spacing for spacing in reversed(image.grid.spacing)]
    return gaussian(normalise(image)[None, None].to(device), sigma)


def _look(data: Tensor, grid: Grid, lattice: Grid, matrix: Tensor, padding: Padding) -> tuple[Tensor, Tensor]:
    """Sample a volume ``(1, 1, *shape)`` of ``grid`` at a lattice's voxels, moved by a map of the world ``(4, 4)``.

    Returns:
        ``(1, 1, *lattice.shape)``, and ``(*lattice.shape)``, true within the volume.
    """
    whole = torch.as_tensor(grid.world_to_index) @ matrix @ torch.as_tensor(lattice.index_to_world)
    there = affine_coordinates(whole, lattice.shape, data)
    limits = torch.tensor(grid.shape, device=data.device).view(3, 1, 1, 1)
    seen = ((there >= -0.5) & (there <= limits - 0.5)).all(dim=1)[0]
    return sample(data, there, padding=padding), seen
