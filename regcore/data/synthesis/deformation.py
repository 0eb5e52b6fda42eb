"""Random anatomy: affine maps and diffeomorphisms to look at a volume through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.data.synthesis.noise import smooth_noise, uniform
from regcore.ops.fields import exp
from regcore.ops.sampling import identity_coordinates

_SQUARINGS = 5


@dataclass(frozen=True)
class DeformationOptions:
    """How far anatomy may be bent; voxels and degrees.

    Attributes:
        rotation_deg: greatest turn about each axis.
        scale: greatest relative change of size along each axis.
        shift: greatest move along each axis, voxels.
        bend: greatest deviation of the velocities, voxels; each sample draws its own up to this.
        knots: fewest and most points per axis that the velocities are drawn at.
        mirror: left and right, the last axis, may change places (labels keep their values).
    """

    rotation_deg: float = 5.0
    scale: float = 0.05
    shift: float = 2.0
    bend: float = 3.0
    knots: tuple[int, int] = (4, 8)
    mirror: bool = False


def random_coordinates(size: Sequence[int], options: DeformationOptions, random: torch.Generator) -> Tensor:
    """Return where each voxel of a grid looks, ``(1, D, *size)``, voxels: bent, then turned about the middle.

    Args:
        size: of the grid.
        options: see `DeformationOptions`.
        random: of the sample.
    """
    like = torch.zeros(1, device=random.device)
    knots = round(uniform(options.knots[0], options.knots[1], random))
    # What is so smooth is integrated at half size.
    half = [max(4, (n + 1) // 2) for n in size]
    velocity = smooth_noise(len(size), half, knots, random)
    velocity *= 0.5 * uniform(0.0, options.bend, random) / velocity.std().clamp_min(1e-6)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    bent = F.interpolate(2 * exp(velocity, _SQUARINGS), size=list(size), mode=mode, align_corners=True)
    coordinates = identity_coordinates(size, like) + bent
    middle = torch.tensor([(n - 1) / 2 for n in size], device=like.device).view(1, -1, *[1] * len(size))
    linear = random_matrix(len(size), options, random).to(like)
    shift = torch.tensor([uniform(-options.shift, options.shift, random) for _ in size], device=like.device)
    turned = torch.einsum("ab,nb...->na...", linear, coordinates - middle)
    return turned + middle + shift.view(1, -1, *[1] * len(size))


def random_matrix(dimensions: int, options: DeformationOptions, random: torch.Generator) -> Tensor:
    """Return a turn after a stretch, ``(D, D)``, on the processor."""
    stretch = torch.tensor([1 + uniform(-options.scale, options.scale, random) for _ in range(dimensions)])
    if options.mirror and uniform(0, 1, random) < 0.5:
        stretch[-1] = -stretch[-1]
    turn = torch.zeros(dimensions, dimensions)
    for a in range(dimensions):
        for b in range(a):
            turn[a, b] = uniform(-options.rotation_deg, options.rotation_deg, random) * torch.pi / 180
    turned: Tensor = torch.linalg.matrix_exp(turn - turn.T)
    return turned * stretch
