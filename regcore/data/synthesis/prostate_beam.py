"""The ultrasound beam of a transrectal probe: where it looks, its speckle, and what shadows leave of it.

Gains are in decibels and add up: 0 dB leaves an echo as it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.data.synthesis.noise import chance, uniform
from regcore.ops.sampling import sample
from regcore.ops.smoothing import gaussian

DECIBEL = 20 / math.log(10)
_RAYS = 96  # across the sector
_SAMPLES = 96  # along a ray


class Probe(NamedTuple):
    """A transducer whose axis runs along z at ``(0, axis_y)``; it looks to the front, towards lower y.

    Attributes:
        axis_y: mm.
        radius: of its surface, mm.
        depth: from the surface to the end of the picture, mm.
        opening: half the angle of the sector, radians.
    """

    axis_y: float
    radius: float
    depth: float
    opening: float


class Beam(NamedTuple):
    """Voxels as the probe sees them, each ``(1, *shape)``.

    Attributes:
        depth: from the probe's surface, mm.
        angle: from the middle of the sector, radians.
        along: z, mm.
        seen: whether the picture shows it.
    """

    depth: Tensor
    angle: Tensor
    along: Tensor
    seen: Tensor


def random_probe(room_mm: float, random: torch.Generator) -> Probe:
    """Return a probe whose surface lies 13 to 19 mm behind the middle of the picture, further for a large gland.

    Args:
        room_mm: needed in front of it.
        random: of the case.
    """
    surface = min(21.0, max(uniform(13, 19, random), room_mm - 19))
    radius, depth = uniform(5, 10, random), uniform(34, 44, random)
    return Probe(surface + radius, radius, max(depth, room_mm - 4), math.radians(uniform(40, 58, random)))


def beam(probe: Probe, points: Tensor) -> Beam:
    """Return where points ``(3, *shape)`` (mm, in the probe's frame) lie in the beam."""
    x, ahead = points[:1], probe.axis_y - points[1:2]
    depth, angle = torch.hypot(x, ahead) - probe.radius, torch.atan2(x, ahead)
    seen = (depth > 0) & (depth < probe.depth) & (angle.abs() < probe.opening)
    return Beam(depth, angle, points[2:3], seen)


def speckle(probe: Probe, slices: int, random: torch.Generator, sharpness: float = 1.0) -> Tensor:
    """Return the field of many scatterers, real and imaginary part, ``(1, 2, slices, rays, samples)``.

    Complex normal noise behind a separable point-spread function: fully developed speckle, whose magnitude is
    Rayleigh-distributed with mean square 1. It is wider across the beam than along it.

    Args:
        probe: for the lengths of a sample and a ray.
        slices: along the probe.
        random: of the case.
        sharpness: 1: deviations of 0.6 mm along a ray, 2.4 degrees across, 0.8 slices; 2: half of that.
    """
    field = torch.randn(1, 2, slices, _RAYS, _SAMPLES, generator=random, device=random.device)
    across = math.radians(2.4) * (_RAYS - 1) / (2 * probe.opening)
    axial = 0.6 * (_SAMPLES - 1) / probe.depth
    field = gaussian(field, [width / sharpness for width in (0.8, across, axial)])
    return field / (2 * field.var()).sqrt()


def speckle_gain(field: Tensor, probe: Probe, at: Beam) -> Tensor:
    """Return what `speckle` does to the echoes of each voxel, ``(1, *shape)`` dB."""
    slices = at.depth.shape[1]
    where = torch.stack(
        [
            torch.arange(slices, device=field.device).view(1, -1, 1, 1).expand_as(at.depth).to(field),
            (at.angle / probe.opening + 1) / 2 * (_RAYS - 1),
            at.depth / probe.depth * (_SAMPLES - 1),
        ],
        dim=1,
    )
    parts = sample(field, where, padding="border")[0]
    return DECIBEL * torch.hypot(parts[:1], parts[1:]).clamp_min(1e-3).log()


def stone_gain(at: Beam, stone: Tensor, probe: Probe, size_mm: float, shadow_db: float) -> Tensor:
    """Return the bright echo of a calcification and the shadow behind it, ``(1, *shape)`` dB.

    Args:
        at: the voxels.
        stone: ``(3,)``, in the probe's frame (mm).
        probe: see `Probe`.
        size_mm: its radius.
        shadow_db: how much sound it takes, above 0.
    """
    place = beam(probe, stone.view(3, 1, 1, 1))
    arc = (at.angle - place.angle) * (at.depth + probe.radius)
    off = arc.square() + (at.along - place.along).square()
    echo = 14 * (-(off + (at.depth - place.depth).square()) / (2 * size_mm**2)).exp()
    # Rays go on as a wedge.
    wedge = arc * (place.depth + probe.radius) / (at.depth + probe.radius)
    blocked = (-(wedge.square() + (at.along - place.along).square()) / (2 * size_mm**2)).exp()
    return echo - shadow_db * blocked * torch.sigmoid((at.depth - place.depth - 2 * size_mm) / 0.5)


def edge_gain(at: Beam, gland: Tensor, strength_db: float, width: float = 0.06) -> Tensor:
    """Return the shadows of rays that graze the gland at its left and right, ``(1, *shape)`` dB.

    Args:
        at: the voxels.
        gland: level ``(1, *shape)``, below 0 inside.
        strength_db: above 0.
        width: of the shadows, radians.
    """
    gain = torch.zeros_like(at.depth)
    inside = gland < 0
    there = inside.any(dim=3).any(dim=2).float()
    for side in (1.0, -1.0):
        turned = torch.where(inside, side * at.angle, -math.pi).flatten(2)
        edge, where = turned.max(dim=2)
        start = at.depth.flatten(2).gather(2, where[..., None])[..., 0]
        edge, start = (_even(values, there)[:, :, None, None] for values in (edge, start))
        dark = (-((side * at.angle - edge) / width).square()).exp() * torch.sigmoid((at.depth - start) / 2)
        gain -= strength_db * dark * _even(there, torch.ones_like(there))[:, :, None, None]
    return gain


def coupling_gain(at: Beam, probe: Probe, random: torch.Generator) -> Tensor:
    """Return the dark rays where the probe has lost touch, in three of ten pictures, ``(1, *shape)`` dB."""
    if not chance(0.3, random):
        return torch.zeros_like(at.depth)
    ray = uniform(-1, 1, random) * probe.opening
    return -uniform(5, 20, random) * (-((at.angle - ray) / uniform(0.05, 0.2, random)).square()).exp()


def _even(values: Tensor, there: Tensor) -> Tensor:
    """Average ``(1, slices)`` over five slices of those that count."""
    total, count = (F.avg_pool1d(v[None], 5, 1, 2)[0] for v in (values * there, there))
    return total / count.clamp_min(1e-6)
