"""The surface of an organ's mask: points on it, and the distance of any point to it, finer than the mask's voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.ops.distance import crossings, signed_distance
from regcore.ops.sampling import sample
from regcore.ops.smoothing import gaussian

_MARGIN_MM = 8.0  # around the organ; beyond it distances are bounds, which is enough to find the way back
_MOST_VOXELS = 80_000
_FEWEST_SLICES = 4
_SHORTEST_AXIS = 12  # voxels: shorter axes are not shrunk further


class Probe(NamedTuple):
    """What the surface says about ``n`` points.

    Attributes:
        distance: ``(n,)`` mm, negative inside.
        slope: ``(n, 3)``, its derivative by the point's place in the world.
        known: ``(n,)``, false beyond a face of the image at which the mask is cut off.
    """

    distance: Tensor
    slope: Tensor
    known: Tensor


@dataclass(frozen=True, eq=False)
class GlandSurface:
    """An organ as its distance map, in float64.

    Attributes:
        grid: of the distance map, a box around the organ along the mask's own axes.
        distance: ``(*grid.shape)`` mm, negative inside.
        points: on the surface, ``(n, 3)`` mm.
        weights: ``(n,)``, the share of the surface that each point stands for; their sum is 1.
        centre: of the organ's mass, ``(3,)`` mm.
        open_ends: ``(2, 3)``, lowest and highest index (i, j, k) of ``grid`` that the image shows where the organ is
            cut off, infinite on the other sides.
    """

    grid: Grid
    distance: Tensor
    points: Tensor
    weights: Tensor
    centre: Matrix
    open_ends: Tensor

    @classmethod
    def of(cls, gland: Image, name: str = "gland") -> GlandSurface:
        """Measure a mask.

        A face of the image where the mask touches it is no surface: the organ goes on there, nobody knows how far.
        Cavities count as filled: other labels, painted over the organ, leave such holes.

        Args:
            gland: above 0 inside the organ, 3D.
            name: of the argument, for messages.

        Raises:
            ValueError: the mask is not a volume, not finite, empty, without a border, or too thin.
        """
        inside = _inside(gland, name)
        extent = _extent(inside)
        occupancy, grid, seen = _working_box(inside, extent, gland.grid)
        distance = _distance(occupancy, grid)
        points, weights = _surface(distance, grid, seen)
        if len(points) == 0:
            problem = (
                "fills its whole image" if bool((occupancy > 0).all()) else "is thinner than two voxels everywhere"
            )
            raise ValueError(f"{name}: the mask {problem}, so the organ's surface is not in it; draw the whole organ")
        ends = torch.where(_touched(inside), seen, torch.tensor([[-torch.inf], [torch.inf]], dtype=torch.float64))
        return cls(grid, distance, points, weights, gland.grid.to_world(_middle(inside, extent)), ends)

    @property
    def is_cut(self) -> bool:
        """Whether the mask touches a face of its image."""
        return bool(self.open_ends.isfinite().any())

    def probe(self, points: Tensor) -> Probe:
        """Return distances at points ``(n, 3)`` (mm, float64).

        Outside the box: the distance at its nearest point and the way to there, no less than the true one.
        """
        matrix = torch.as_tensor(self.grid.world_to_index)
        index = points @ matrix[:3, :3].T + matrix[:3, 3]
        known = ((index >= self.open_ends[0]) & (index <= self.open_ends[1])).all(1)
        held = index.clamp(torch.zeros(3, dtype=index.dtype), torch.tensor(self.grid.size, dtype=index.dtype) - 1)
        value, slope = _interpolate(self.distance, held)
        beyond = (index - held) * torch.tensor(self.grid.spacing, dtype=index.dtype)
        way = beyond.norm(dim=1)
        out = beyond / way.clamp_min(1e-9)[:, None]
        axes = torch.as_tensor(self.grid.axes)
        local = torch.where(beyond == 0, slope / torch.tensor(self.grid.spacing, dtype=index.dtype), out)
        return Probe(value + way, local @ axes.T, known)


def _inside(gland: Image, name: str) -> Tensor:
    if gland.dim != 3:
        raise ValueError(
            f"{name}: expected a 3D mask, got {gland.dim}D; outlines in one plane do not fix a transform in space"
        )
    if min(gland.grid.size) < _FEWEST_SLICES:
        size = " x ".join(map(str, gland.grid.size))
        raise ValueError(f"{name}: expected a volume, got {size} voxels; one frame does not fix a transform in space")
    if gland.data.is_floating_point() and not bool(torch.isfinite(gland.data).all()):
        raise ValueError(f"{name}: expected finite voxels, found NaN or infinity; draw the mask again")
    inside = gland.data > 0
    if not bool(inside.any()):
        raise ValueError(f"{name}: the mask is empty; draw the organ, or leave the mask out")
    return inside


def _filled(occupancy: Tensor) -> Tensor:
    """Return the occupancy with what lies between fuller voxels along every axis filled up."""
    between = torch.ones_like(occupancy)
    for axis in range(occupancy.ndim):
        for there in (occupancy.cummax(axis).values, occupancy.flip(axis).cummax(axis).values.flip(axis)):
            between = torch.minimum(between, there)
    return torch.maximum(occupancy, between)


def _extent(inside: Tensor) -> list[slice]:
    """Return the rows of each array axis that the mask's bounding box takes."""
    rows = [np.flatnonzero(inside.numpy().any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return [slice(int(found[0]), int(found[-1]) + 1) for found in rows]


def _middle(inside: Tensor, extent: list[slice]) -> Matrix:
    """Return the mean index (i, j, k) of the mask's voxels."""
    part, middle = inside[tuple(extent)].float(), []
    for axis in (2, 1, 0):
        line = part.sum([a for a in range(3) if a != axis]).double()
        steps = torch.arange(len(line), dtype=line.dtype)
        middle.append(extent[axis].start + float(line @ steps / line.sum()))
    return np.array(middle)


def _touched(inside: Tensor) -> Tensor:
    """Whether the mask touches the lower and the upper face of each index axis, ``(2, 3)``, i, j, k order."""
    faces = [[bool(inside.select(axis, end).any()) for axis in (2, 1, 0)] for end in (0, -1)]
    return torch.tensor(faces)


def _working_box(inside: Tensor, extent: list[slice], grid: Grid) -> tuple[Tensor, Grid, Tensor]:
    """Return the organ's box with a margin, shrunk where it has very many voxels.

    Returns:
        The filled share of each voxel ``(*shape)``, its grid, and the lowest and highest index of it that the image
        shows, edges of voxels included, ``(2, 3)``, i, j, k order.
    """
    margins = [math.ceil(_MARGIN_MM / step) for step in grid.spacing[::-1]]
    low = [rows.start - margin for rows, margin in zip(extent, margins, strict=True)]
    size = [rows.stop - rows.start + 2 * margin for rows, margin in zip(extent, margins, strict=True)]
    factors = _factors(size, grid.spacing[::-1])
    size = [math.ceil(n / f) * f for n, f in zip(size, factors, strict=True)]
    share = _filled(F.avg_pool3d(_cut_out(inside, low, size).float()[None, None], factors)[0, 0])
    first = grid.to_world([a + (f - 1) / 2 for a, f in zip(low[::-1], factors[::-1], strict=True)])
    spacing = [s * f for s, f in zip(grid.spacing, factors[::-1], strict=True)]
    box = Grid.of(share.shape[::-1], spacing, first.tolist(), grid.axes)
    corners = grid.to_world([[-0.5] * 3, [n - 0.5 for n in grid.size]])
    return share, box, torch.as_tensor(box.to_index(corners))


def _cut_out(inside: Tensor, low: list[int], size: list[int]) -> Tensor:
    """Return a box that may reach beyond the array; there the array's outer voxels go on."""
    for axis, (start, count) in enumerate(zip(low, size, strict=True)):
        rows = torch.arange(start, start + count).clamp(0, inside.shape[axis] - 1)
        inside = inside.index_select(axis, rows)
    return inside


def _factors(shape: list[int], spacing: tuple[float, ...]) -> list[int]:
    """Return how many voxels become one, per axis: the finest axes first."""
    factors = [1] * len(shape)
    while math.prod(math.ceil(n / f) for n, f in zip(shape, factors, strict=True)) > _MOST_VOXELS:
        room = [a for a in range(len(shape)) if shape[a] / (factors[a] + 1) >= _SHORTEST_AXIS]
        if not room:
            break
        factors[min(room, key=lambda a: spacing[a] * factors[a])] += 1
    return factors


def _distance(occupancy: Tensor, grid: Grid) -> Tensor:
    """Return the distance map of an occupancy, smoothed by one of its finest voxels.

    A mask has steps where the organ has slopes. Two masks on one grid would lock into each other's steps, and every
    turn would seem better known than it is. A sphere of 15 voxels' radius loses a fifteenth of a voxel by this.
    """
    distance = signed_distance(occupancy, grid.spacing[::-1])
    finest = min(grid.spacing)
    return gaussian(distance[None, None], [finest / s for s in grid.spacing[::-1]])[0, 0]


def _surface(distance: Tensor, grid: Grid, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the surface crosses the grid's edges, in the world, and each crossing's share of the surface.

    A slanting plane is crossed by the edges along several axes: what a crossing stands for follows from the normal.
    """
    index = torch.cat(crossings(0.5 - distance)).flip(1)
    index = index[((index >= seen[0]) & (index <= seen[1])).all(1)]
    spacing = torch.tensor(grid.spacing, dtype=torch.float64)
    _, slope = _interpolate(distance, index)
    normal = F.normalize(slope / spacing, dim=1)
    per_area = (normal.abs() * spacing).sum(1) / spacing.prod()
    matrix = torch.as_tensor(grid.index_to_world)
    weights = 1 / per_area.clamp_min(1e-9)
    return index @ matrix[:3, :3].T + matrix[:3, 3], weights / weights.sum()


def _interpolate(volume: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return trilinear values at indices ``(n, 3)`` (i, j, k), and their derivatives ``(n, 3)`` per voxel."""
    where = index.flip(1).T.reshape(1, 3, 1, 1, -1).clone().requires_grad_()
    with torch.enable_grad():
        value = sample(volume[None, None], where, padding="border").flatten()
        (slope,) = torch.autograd.grad(value.sum(), where)
    return value.detach(), slope.reshape(3, -1).T.flip(1)
