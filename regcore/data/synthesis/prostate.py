"""Prostate MRI and transrectal ultrasound from gland shapes, with a known rigid transform, as cases to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from regcore.data.batch import generator
from regcore.data.rigid_cases import RigidCase
from regcore.data.synthesis.noise import chance, choice, uniform
from regcore.data.synthesis.prostate_anatomy import Place, random_anatomy
from regcore.data.synthesis.prostate_beam import random_probe
from regcore.data.synthesis.prostate_mri import t2_image
from regcore.data.synthesis.prostate_shape import Gland, bent, random_gland
from regcore.data.synthesis.prostate_squeeze import random_squeeze
from regcore.data.synthesis.prostate_ultrasound import random_stones, ultrasound_image
from regcore.grid import Grid
from regcore.image import Image
from regcore.metrics.registration_error import surface_points
from regcore.ops.rigid import rigid_inverse, rigid_matrix
from regcore.transform import AffineTransform

_SALT = 0x50524F53  # samples and cases with one number have nothing in common


@dataclass(frozen=True)
class ProstateOptions:
    """Volumes of synthetic cases.

    Attributes:
        fixed_size: of the MRI, x, y, z.
        fixed_spacing: mm.
        moving_size: of the ultrasound.
        moving_spacing: mm.
        oblique_deg: deviation of the volumes' axes from the world's; a third of the volumes are upright.
        turn_deg: deviation of the patient's axes from the volumes'.
        squeeze: how much shape the probe changes, 0 to 1; see `random_squeeze`.
        upside_down: share of cases whose heads lie where the world's feet are: files declared so exist.
    """

    fixed_size: tuple[int, int, int] = (64, 64, 60)
    fixed_spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    moving_size: tuple[int, int, int] = (59, 44, 41)
    moving_spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    oblique_deg: float = 8.0
    turn_deg: float = 4.0
    squeeze: float = 1.0
    upside_down: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if min(*self.fixed_size, *self.moving_size) < 16:
            raise ValueError(f"size: expected 16 voxels or more per axis, got {self.fixed_size}, {self.moving_size}")
        if min(*self.fixed_spacing, *self.moving_spacing) <= 0:
            raise ValueError(f"spacing: expected mm above 0, got {self.fixed_spacing}, {self.moving_spacing}")
        for name in ("squeeze", "upside_down"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number from 0 to 1, got {getattr(self, name)}")


class SyntheticPair(NamedTuple):
    """A case, and the gland as the ultrasound shows it (on the moving grid, above 0 inside)."""

    case: RigidCase
    moving_gland: Image


def synthetic_case(
    number: int,
    seed: int,
    shapes: Sequence[Gland] | None = None,
    device: torch.device | str = "cpu",
    options: ProstateOptions | None = None,
) -> RigidCase:
    """Return case ``number``; see `synthetic_pair`."""
    return synthetic_pair(number, seed, shapes, device, options).case


def synthetic_pair(
    number: int,
    seed: int,
    shapes: Sequence[Gland] | None = None,
    device: torch.device | str = "cpu",
    options: ProstateOptions | None = None,
) -> SyntheticPair:
    """Return a case that is a function of its arguments alone.

    The reference is the best rigid transform over the gland's surface: what the probe squeezes has no rigid part.

    Args:
        number: of the case.
        seed: of the run.
        shapes: glands to bend; none: each is made from nothing.
        device: to paint on; the case itself is on the processor. Each device has random numbers of its own.
        options: see `ProstateOptions`.

    Raises:
        ValueError: ``shapes`` is empty.
    """
    if shapes is not None and not shapes:
        raise ValueError("shapes: expected at least one gland, got none; leave it out for glands from nothing")
    # Training may ask for cases while the network's products are taken in half precision: coordinates never are.
    with torch.autocast(torch.device(device).type, enabled=False):
        return _pair(number, seed, shapes, device, options or ProstateOptions())


def _pair(
    number: int, seed: int, shapes: Sequence[Gland] | None, device: torch.device | str, options: ProstateOptions
) -> SyntheticPair:
    random = generator(seed ^ _SALT, number, device)
    gland = (
        random_gland(random) if shapes is None else bent(shapes[choice(len(shapes), random)].to(random.device), random)
    )
    anatomy = random_anatomy(gland, random)
    wall_mm = uniform(3.0, 9.0, random)  # of the rectum
    probe = random_probe(wall_mm + 2 * gland.half_mm[1], random)
    before = probe.axis_y - probe.radius - wall_mm - gland.half_mm[1]
    flip = torch.diag(torch.tensor([1.0, 1.0, -1.0 if chance(options.upside_down, random) else 1.0, 1.0])).double()
    fixed_pose = _pose((0.0, 0.0, 0.0), (2.5, 4.0, 4.0), options.turn_deg, random) @ flip
    moving_pose = _pose((0.0, before, 0.0), (2.0, 1.0, 3.0), options.turn_deg, random) @ flip
    fixed_grid = _grid(options.fixed_size, options.fixed_spacing, options.oblique_deg, random)
    moving_grid = _grid(options.moving_size, options.moving_spacing, options.oblique_deg, random)

    here, there = _lattice(fixed_grid, random.device), _lattice(moving_grid, random.device)
    patient = _place(gland, _mapped(_inverse(fixed_pose), here))
    squeeze = random_squeeze(gland.surface(), options.squeeze, random)
    squeezed = _place(gland, squeeze.back(_mapped(_inverse(moving_pose), there)))
    stones = random_stones(anatomy, random)
    stones = _mapped(moving_pose, squeeze.forth(stones.T.double()).float()).T if len(stones) else stones
    mri = t2_image(anatomy, patient, options.fixed_spacing, random)
    ultrasound = ultrasound_image(anatomy, probe, squeezed, there, stones, random)

    mask = _mask(patient, fixed_grid)
    reference = _world(moving_grid) @ moving_pose @ _inverse(fixed_pose) @ rigid_inverse(_world(fixed_grid)[None])[0]
    case = RigidCase(
        f"synthetic{number}",
        Image(mri[0, 0].cpu(), fixed_grid),
        Image(ultrasound[0, 0].cpu(), moving_grid),
        mask,
        AffineTransform.from_homogeneous(reference.numpy()),
        surface_points(mask),
    )
    return SyntheticPair(case, _mask(squeezed, moving_grid))


def _place(gland: Gland, points: Tensor) -> Place:
    return Place(points, gland.at(points))


def _mask(place: Place, grid: Grid) -> Image:
    return Image((place.gland[0] < 0).to(torch.uint8).cpu(), grid, "uint8")


def _pose(
    middle: tuple[float, float, float], spread: tuple[float, float, float], turn_deg: float, random: torch.Generator
) -> Tensor:
    """Return a map ``(4, 4)`` from the gland's frame to about ``middle`` of a volume's frame (mm)."""
    normal = torch.randn(6, generator=random, device=random.device).cpu().double().clamp(-2, 2)
    moved = torch.tensor([*middle, 0.0, 0.0, 0.0]) + normal * torch.tensor([*spread, *[turn_deg] * 3])
    return rigid_matrix(moved.double()[None])[0]


def _grid(
    size: tuple[int, int, int], spacing: tuple[float, float, float], oblique_deg: float, random: torch.Generator
) -> Grid:
    """Return a grid about a random point of the world, upright or somewhat oblique."""
    normal = torch.randn(6, generator=random, device=random.device).cpu().double().clamp(-2, 2)
    degrees = oblique_deg * normal[3:] * (0.0 if chance(1 / 3, random) else 1.0)
    axes = rigid_matrix(torch.cat([torch.zeros(3).double(), degrees])[None])[0, :3, :3]
    half = torch.tensor([(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True)], dtype=torch.float64)
    return Grid.of(size, spacing, (15 * normal[:3] - axes @ half).tolist(), axes.numpy())


def _lattice(grid: Grid, device: torch.device) -> Tensor:
    """Return each voxel's place in the volume's own frame, ``(3, *shape)`` mm about its middle; x, y, z."""
    upright = Grid.of(grid.size, grid.spacing)
    points = upright.points() - torch.as_tensor(upright.centre)
    return points.movedim(-1, 0).float().to(device)


def _world(grid: Grid) -> Tensor:
    """Return the map ``(4, 4)`` from the volume's own frame to the world."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = torch.as_tensor(grid.axes), torch.as_tensor(grid.centre)
    return matrix


def _inverse(pose: Tensor) -> Tensor:
    return rigid_inverse(pose[None])[0]


def _mapped(matrix: Tensor, points: Tensor) -> Tensor:
    matrix = matrix.to(points)
    return (matrix[:3, :3] @ points.flatten(1) + matrix[:3, 3:]).view(points.shape)
