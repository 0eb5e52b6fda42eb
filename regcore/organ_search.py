"""Where to look when nobody has outlined the organ."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from regcore.frames import Frame
from regcore.grid import Matrix
from regcore.image import Image
from regcore.metrics.registration_error import surface_points
from regcore.models.base import RigidModel
from regcore.progress import CancelCheck
from regcore.rigid import register_rigid
from regcore.sparse import shrunk
from regcore.transform import AffineTransform

_USUAL_SIDES_MM = (34.0, 28.0, 31.0)  # mean of the glands the networks learned from
_STEP_MM = 8.0
_STEPS = (-1, 0, 1)
_VOXELS = 300_000  # of either volume while searching
_EVERY = 5  # of the surface's points are compared


class FoundOrgan(NamedTuple):
    """Where to look.

    Attributes:
        gland: an ellipsoid of a usual gland's size on the fixed grid, 1 inside.
        spread_mm: how far results lie from each other when other centres of the lattice are looked at.
    """

    gland: Image
    spread_mm: float


def find_organ(
    networks: Sequence[RigidModel],
    fixed: Image,
    moving: Image,
    start: AffineTransform,
    device: torch.device | str = "cpu",
    report: Callable[[float, str], None] | None = None,
    cancelled: CancelCheck | None = None,
) -> FoundOrgan:
    """Look around each centre of a coarse lattice and keep the one whose result the others agree with most.

    The networks expect a crop on the gland: where they are shown another place they pull the moving content towards
    it, each place to another side, so the results of wrong centres lie around that of a right one.

    Args:
        networks: see `regcore.rigid.register_rigid`.
        fixed: 3D, with the organ not far from its middle.
        moving: 3D.
        start: fixed to moving points.
        device: where the networks run.
        report: told the fraction done (up to a half) and a message.
        cancelled: asked at each centre.
    """
    axes, middle = Frame.of(fixed.grid).axes, fixed.grid.centre
    # Each look prepares both volumes anew: fine ones are made coarse once, before.
    still, moved = shrunk(fixed, _VOXELS), shrunk(moving, _VOXELS)
    surface = surface_points(usual_gland(still, middle))[::_EVERY]
    centres, ends = [], []
    offsets = list(itertools.product(_STEPS, repeat=3))
    for number, offset in enumerate(offsets):
        if report is not None:
            report(0.5 * number / len(offsets), "looking for the organ")
        centre = middle + axes @ (np.asarray(offset) * _STEP_MM)
        gland = usual_gland(still, centre)
        if not bool(gland.data.any()):
            continue
        found = register_rigid(networks, still, moved, gland, start, device=device, cancelled=cancelled)
        centres.append(centre)
        ends.append(found.transform(surface))
    there = np.stack(ends)
    apart = np.linalg.norm(there[:, None] - there[None], axis=-1).mean(axis=-1)
    best = int(apart.mean(axis=1).argmin())
    return FoundOrgan(usual_gland(fixed, centres[best]), float(np.sqrt(np.square(apart[best]).mean())))


def usual_gland(fixed: Image, centre: Matrix) -> Image:
    """Return an ellipsoid of a usual gland's size about ``centre`` (mm), on the grid of ``fixed``."""
    axes = torch.as_tensor(Frame.of(fixed.grid).axes)
    local = (fixed.grid.points() - torch.as_tensor(centre)) @ axes
    inside = (local / (torch.tensor(_USUAL_SIDES_MM) / 2)).square().sum(dim=-1) <= 1
    return Image(inside.to(torch.uint8), fixed.grid, "uint8")
