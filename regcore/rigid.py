"""Rigid registration by networks, stage after stage, with a spread that says how sure the result is.

Each stage looks at the gland's crop, the moving volume resampled into it by the transform so far, and predicts what is
still missing. An ensemble starts from small perturbations of one start, half of it seeing the mirror image: the mean is
better than one run, and members that disagree are a warning.

Reference: Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regcore.crop import CropPair, gland_crop
from regcore.grid import Grid, Matrix
from regcore.image import Image, Reorientation
from regcore.metrics.registration_error import surface_points
from regcore.models.base import RigidModel
from regcore.ops.rigid import rigid_inverse, rigid_matrix
from regcore.procrustes import nearest_rotation
from regcore.progress import CancelCheck, Cancelled
from regcore.transform import AffineTransform, RigidTransform
from regcore.warp import resample

_PERTURBATION = (2.0, 2.0, 2.0, 3.0, 3.0, 3.0)  # mm and degrees, of the ensemble's starts
_MIRROR = (-1.0, 1.0, 1.0, 1.0, -1.0, -1.0)  # what a left-right mirror does to the six parameters
_CROPS_AT_ONCE = 1_000_000  # voxels given to the network together
_MOST_POINTS = 2000
_ROUNDED = 1e-3  # in a matrix written with few digits


@dataclass(frozen=True)
class RigidResult:
    """What `register_rigid` returns.

    Attributes:
        transform: fixed to moving points, about the crop's centre.
        spread_mm: how far the members, after each stage, lie from the result on the organ's surface, root mean
            square: it grows where members disagree, and where later stages still had much to correct. None for one
            member.
        stages: the mean after each stage, the last one is ``transform``.
        seconds: wall seconds of each stage.
        crop: where the networks looked.
    """

    transform: RigidTransform
    spread_mm: float | None
    stages: tuple[RigidTransform, ...]
    seconds: tuple[float, ...]
    crop: Grid


def register_rigid(
    networks: Sequence[RigidModel],
    fixed: Image,
    moving: Image,
    gland: Image,
    start: AffineTransform,
    *,
    stages: int | None = None,
    ensemble: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
    cancelled: CancelCheck | None = None,
) -> RigidResult:
    """Register the moving volume to the fixed one rigidly.

    Args:
        networks: one per stage, of one input size and convention; the last serves all further stages.
        fixed: 3D, any orientation and spacing.
        moving: 3D.
        gland: above 0 inside the organ in the fixed volume; resampled if it lies on another grid.
        start: fixed to moving points, what is known before; a rigid map.
        stages: how many; by default one per network.
        ensemble: members; 1: the start alone.
        seed: of the ensemble's perturbations.
        device: where networks and sampling run.
        cancelled: asked before each stage.

    Raises:
        ValueError: an empty gland, a start that is not rigid, or networks that do not belong together.
        Cancelled: ``cancelled`` returned true.
    """
    count = len(networks) if stages is None else stages
    if not networks or count < 1 or ensemble < 1:
        raise ValueError(f"stages: expected 1 or more stages and members, got {count} and {ensemble}")
    first = networks[0]
    if any((n.input_size, n.convention) != (first.input_size, first.convention) for n in networks):
        raise ValueError("networks: expected stages of one model; their crops or conventions differ")
    gland = gland if gland.grid.same_as(fixed.grid) else resample(gland, fixed.grid, "nearest")
    crop = gland_crop(gland, first.input_size)
    shown = gland if first.convention.fixed_input == "label" else fixed
    pair = CropPair(shown, moving, crop, first.convention.fixed_input, device)
    frame = rotation_frame(crop, fixed.grid, first.convention.center)
    surface = _some(surface_points(gland.with_data((gland.data > 0).to(torch.uint8))))
    members = _perturbed(_rigid(start), crop, ensemble, seed)
    # About another centre than the crop's, a mirror would move the centre too.
    mirrored = (torch.arange(ensemble) % 2 == 1) & (first.convention.center == "crop")
    means, seconds, seen = [], [], list[Tensor]()
    for stage in range(count):
        if cancelled is not None and cancelled():
            raise Cancelled
        began = time.perf_counter()
        members = _advance(networks[min(stage, len(networks) - 1)], pair, frame, members, mirrored)
        seen.append(members)
        means.append(_mean(members, crop.centre))
        seconds.append(time.perf_counter() - began)
    spread = _spread(torch.cat(seen), means[-1], surface) if ensemble > 1 else None
    return RigidResult(means[-1], spread, tuple(means), tuple(seconds), crop)


def rotation_frame(crop: Grid, fixed: Grid, center: str) -> Tensor:
    """Return the matrix ``(4, 4)`` from the world to the frame that a network's six numbers are given in.

    Its axes are the crop's, its origin the crop's centre or, for ``mr_origin``, the fixed volume's first voxel.
    """
    origin = crop.centre if center == "crop" else np.asarray(Reorientation.to_canonical(fixed).grid(fixed).origin)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = crop.axes.T, -crop.axes.T @ origin
    return torch.as_tensor(matrix)


def _advance(network: RigidModel, pair: CropPair, frame: Tensor, members: Tensor, mirrored: Tensor) -> Tensor:
    """Return the members' matrices ``(N, 4, 4)`` after one stage."""
    at_once = max(1, _CROPS_AT_ONCE // pair.fixed.numel())
    batches = [slice(start, start + at_once) for start in range(0, len(members), at_once)]
    parameters = torch.cat([_predict(network, pair, members[rows], mirrored[rows]) for rows in batches])
    # A network moves content in the crop; points are sampled the other way.
    missing = rigid_inverse(rigid_matrix(parameters.double()))
    return members @ rigid_inverse(frame[None]) @ missing @ frame


def _predict(network: RigidModel, pair: CropPair, members: Tensor, mirrored: Tensor) -> Tensor:
    flags = mirrored.to(pair.device).view(-1, 1, 1, 1, 1)
    moving = pair.moving(members)
    fixed = pair.fixed.expand_as(moving)
    with torch.inference_mode():
        found = network(
            torch.where(flags, fixed.flip(4), fixed),
            torch.where(flags, moving.flip(4), moving),
            pair.side_mm.expand(len(members), 3),
        ).cpu()
    return torch.where(mirrored[:, None], found * torch.tensor(_MIRROR), found)


def _perturbed(start: RigidTransform, crop: Grid, count: int, seed: int) -> Tensor:
    """Return the start ``(count, 4, 4)``, all but the first perturbed about the crop's centre, in opposite pairs."""
    generator = torch.Generator().manual_seed(seed)
    draws = 2 * torch.rand((count + 1) // 2, 6, dtype=torch.float64, generator=generator) - 1
    parameters = torch.stack([draws, -draws], dim=1).reshape(-1, 6) * torch.tensor(_PERTURBATION)
    parameters = torch.cat([torch.zeros(1, 6, dtype=torch.float64), parameters])[:count]
    frame = rotation_frame(crop, crop, "crop")
    return torch.as_tensor(start.homogeneous) @ rigid_inverse(frame[None]) @ rigid_matrix(parameters) @ frame


def _mean(members: Tensor, centre: Matrix) -> RigidTransform:
    """Return the chordal mean of rigid matrices ``(N, 4, 4)``, its rotation about ``centre``."""
    average = members.mean(dim=0).numpy()
    moved = average[:3, :3] @ centre + average[:3, 3]
    return RigidTransform(nearest_rotation(average[:3, :3]), moved - centre, centre)


def _spread(members: Tensor, mean: RigidTransform, surface: Matrix) -> float:
    there = members.numpy()[:, :3, :3] @ surface.T + members.numpy()[:, :3, 3:]
    apart = np.linalg.norm(there - mean(surface).T, axis=1)
    return float(np.sqrt(np.square(apart.mean(axis=1)).mean()))


def _some(points: Matrix) -> Matrix:
    return points[:: max(1, len(points) // _MOST_POINTS)]


def _rigid(start: AffineTransform) -> RigidTransform:
    """Return ``start`` as a rigid map; files round their numbers, so a matrix close to a rotation counts as one."""
    rotation = nearest_rotation(start.matrix)
    if np.abs(rotation - start.matrix).max() > _ROUNDED:
        raise ValueError(
            "init: a rigid model goes on from a rigid transform and this one stretches or mirrors; use none or rigid"
        )
    return RigidTransform(rotation, start.translation, start.centre)
