"""Prostate glands as smooth level functions: from nothing, or from the masks of real ones, bent anew each time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.data.synthesis.noise import chance, smooth_noise, uniform
from regcore.image import Image
from regcore.ops.distance import signed_distance
from regcore.ops.sampling import identity_coordinates, sample
from regcore.ops.smoothing import gaussian

STEP_MM = 2.0  # of the lattice that a level function is kept on
_COUNT = 44  # points per axis: even, so that none lies in the middle
_LEAST_MM = 5.0  # half of the thinnest gland


@dataclass(frozen=True)
class Gland:
    """A gland about the origin of a patient: x to the left, y to the back, z to the head (mm).

    Attributes:
        level: ``(1, 1, n, n, n)``, signed distance from the surface (mm, about), below 0 inside; order z, y, x.
        half_mm: half of its box along x, y, z.
    """

    level: Tensor
    half_mm: tuple[float, float, float]

    def at(self, points: Tensor) -> Tensor:
        """Return the level ``(1, *shape)`` at points ``(3, *shape)`` (mm)."""
        return sample(self.level, (points.flip(0) / STEP_MM + (_COUNT - 1) / 2)[None], padding="border")[0]

    def surface(self) -> Tensor:
        """Return lattice points next to the surface, ``(3, P)`` mm."""
        return lattice_points(self.level)[:, self.level[0, 0].abs() < STEP_MM / 2]

    def to(self, device: torch.device) -> Gland:
        """Return the gland on another device."""
        return Gland(self.level.to(device), self.half_mm)


def lattice_points(like: Tensor) -> Tensor:
    """Return the positions ``(3, n, n, n)`` (mm; x, y, z) of the points that levels are kept at."""
    return (identity_coordinates([_COUNT] * 3, like)[0] - (_COUNT - 1) / 2).flip(0) * STEP_MM


def random_gland(random: torch.Generator) -> Gland:
    """Return a gland from nothing: a superellipsoid, thin at the apex and hollow behind, bent at random."""
    points = lattice_points(torch.zeros(1, device=random.device))
    wide = uniform(13.0, 23.0, random)
    half = (wide, wide * uniform(0.65, 0.95, random), wide * uniform(0.6, 1.1, random))
    taper, power = uniform(0.1, 0.35, random), uniform(2.0, 3.0, random)
    thin = (1 + taper * (points[2] / half[2]).clamp(-1, 1)) * (1 - 0.3 * taper)
    scaled = torch.stack([points[0] / (half[0] * thin), points[1] / (half[1] * thin), points[2] / half[2]])
    reach = scaled.abs().pow(power).sum(dim=0).pow(1 / power)
    level = points.norm(dim=0) * (1 - 1 / reach)
    hollow = uniform(0.0, 2.5, random) * (-(points[0] / 6).square()).exp() * torch.sigmoid(points[1] / 3)
    return bent(_gland(level + hollow), random)


def gland_of_mask(mask: Image) -> Gland:
    """Return the gland that a mask shows, head up: the thin end of a prostate, its apex, points to the feet.

    Args:
        mask: 3D, above 0 inside, in canonical order.

    Raises:
        ValueError: it is empty, or smaller or larger than a gland can be.
    """
    inside = mask.data > 0
    if not bool(inside.any()):
        raise ValueError("shapes: expected the mask of a prostate, got an empty one; leave that case out")
    index = inside.nonzero().double()
    middle = index.mean(dim=0)
    spacing = torch.tensor(mask.grid.spacing[::-1], dtype=torch.float64)
    offset = (index - middle) * spacing
    most = STEP_MM * (_COUNT / 2 - 4)
    reach = offset.abs().amax(dim=0)
    if float(reach.amin()) < _LEAST_MM:
        raise ValueError(f"shapes: expected the mask of a prostate, got one not even {2 * _LEAST_MM:.0f} mm thick")
    if float(reach.amax()) > most:
        raise ValueError(f"shapes: expected the mask of a prostate, got one that reaches further than {most:.0f} mm")
    up = -1.0 if float(offset[:, 0].pow(3).mean()) > 0 else 1.0
    way = torch.tensor([up, 1.0, 1.0], dtype=torch.float64) / spacing
    where = middle.view(3, 1, 1, 1) + lattice_points(spacing).flip(0) * way.view(3, 1, 1, 1)
    # The mask may touch the edge of its volume; what is cut off there is closed.
    room = F.pad(inside.float(), [1] * 6)
    distance = signed_distance(room, mask.grid.spacing[::-1])[None, None]
    level = sample(distance, where[None] + 1, padding="border").float()
    # Beyond the volume distances grow on.
    beyond = (where - where.clamp(min=-1).minimum(torch.tensor(inside.shape).view(3, 1, 1, 1))) / way.view(3, 1, 1, 1)
    level += beyond.norm(dim=0).float()
    return _gland(gaussian(level, 0.7)[0, 0])


def bent(gland: Gland, random: torch.Generator) -> Gland:
    """Return the gland stretched, turned over at random, and bent."""
    like = gland.level
    stretch = torch.tensor([uniform(0.87, 1.15, random) for _ in range(3)], device=like.device)
    if chance(0.5, random):
        stretch[2] = -stretch[2]  # z, y, x: left and right change places
    bend = uniform(0.5, 2.0, random) / STEP_MM * smooth_noise(3, like.shape[2:], 5, random)
    middle = (_COUNT - 1) / 2
    where = middle + (identity_coordinates(like.shape[2:], like) - middle) / stretch.view(1, 3, 1, 1, 1) + bend
    return _gland(sample(like, where, padding="border")[0, 0])


def _gland(level: Tensor) -> Gland:
    """Put the middle of the box of what is inside at the origin."""
    points = lattice_points(level)
    inside = points[:, level < 0]
    low, high = inside.amin(dim=1), inside.amax(dim=1)
    shift = ((low + high) / 2 / STEP_MM).flip(0).view(1, 3, 1, 1, 1)
    moved = sample(level[None, None], identity_coordinates(level.shape, level) + shift, padding="border")
    return Gland(moved, tuple(((high - low + STEP_MM) / 2).tolist()))
