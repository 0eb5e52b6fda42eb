"""Where to look when nobody has outlined the organ."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from regcore.frames import Frame
from regcore.grid import Matrix
from regcore.image import Image
from regcore.models.base import RigidModel
from regcore.progress import CancelCheck
from regcore.rigid import register_rigid
from regcore.transform import AffineTransform

_USUAL_SIDES_MM = (34.0, 28.0, 31.0)  # mean of the glands the networks learned from
_STEP_MM = 10.0
_STEPS = (-1, 0, 1)
_MEMBERS = 4


def find_organ(
    networks: Sequence[RigidModel],
    fixed: Image,
    moving: Image,
    start: AffineTransform,
    device: torch.device | str = "cpu",
    report: Callable[[float, str], None] | None = None,
    cancelled: CancelCheck | None = None,
) -> Image:
    """Return an ellipsoid of a usual gland's size, on the fixed grid, where the networks agree best.

    Centres on a coarse lattice about the middle of the fixed volume are tried in turn; at each a small ensemble runs,
    and the one whose members end closest together wins.

    Args:
        networks: see `regcore.rigid.register_rigid`.
        fixed: 3D.
        moving: 3D.
        start: fixed to moving points.
        device: where the networks run.
        report: told the fraction done (up to a half) and a message.
        cancelled: asked at each centre.
    """
    axes, middle = Frame.of(fixed.grid).axes, fixed.grid.centre
    best, least = usual_gland(fixed, middle), np.inf
    offsets = list(itertools.product(_STEPS, repeat=3))
    for number, offset in enumerate(offsets):
        if report is not None:
            report(0.5 * number / len(offsets), "looking for the organ")
        gland = usual_gland(fixed, middle + axes @ (np.asarray(offset) * _STEP_MM))
        if not bool(gland.data.any()):
            continue
        found = register_rigid(
            networks, fixed, moving, gland, start, ensemble=_MEMBERS, device=device, cancelled=cancelled
        )
        assert found.spread_mm is not None
        if found.spread_mm < least:
            best, least = gland, found.spread_mm
    return best


def usual_gland(fixed: Image, centre: Matrix) -> Image:
    """Return an ellipsoid of a usual gland's size about ``centre`` (mm), on the grid of ``fixed``."""
    axes = torch.as_tensor(Frame.of(fixed.grid).axes)
    local = (fixed.grid.points() - torch.as_tensor(centre)) @ axes
    inside = (local / (torch.tensor(_USUAL_SIDES_MM) / 2)).square().sum(dim=-1) <= 1
    return Image(inside.to(torch.uint8), fixed.grid, "uint8")
