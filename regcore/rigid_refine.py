"""Rigid refinement on the pair itself, from a result that is nearly right, and the rule that keeps the better one.

No measure of likeness knows the truth. Between MRI and ultrasound MIND and mutual information are often best at a
wrong place, and their value there does not tell: it is better than at the start. The surroundings do. Around a true
optimum the volumes are clearly less alike on every side; around a false one some place is nearly as good. A
refinement is kept if it is better than the start, if its optimum is distinct in this sense and within reach, and, in
`keep_better`, if it is no farther away than the confidence in the start allows or so distinct that it needs none.

The thresholds: MIND leads over places 8 mm away by 0.32 or more on the prostate phantoms, and by 0.13 or less on 16
real MRI and ultrasound pairs, where its optimum is wrong by 10 mm on average; mutual information by 0.60 or more, and
by 0.36 or less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from regcore.grid import Matrix
from regcore.image import Image, check_finite
from regcore.procrustes import nearest_rotation
from regcore.progress import CancelCheck, Cancelled
from regcore.rigid_fit import InformationLikeness, Likeness, MindLikeness, Pose, better, fit
from regcore.rigid_view import Lattice, View, lattice_over
from regcore.transform import AffineTransform, RigidTransform

Metric = Literal["mind", "mi"]

ALWAYS_ALLOWED_MM = 2.0
SPREADS_ALLOWED = 2.0

_LIKENESS: dict[Metric, type[Likeness]] = {"mind": MindLikeness, "mi": InformationLikeness}
_VOXELS_MM: dict[Metric, tuple[float, ...]] = {"mind": (4.0, 2.0), "mi": (4.0, 1.5)}
_DISTINCT: dict[Metric, float] = {"mind": 0.2, "mi": 0.45}
_CLEAR: dict[Metric, float] = {"mind": 0.27, "mi": 0.55}  # beyond doubt
_AWAY_MM = 8.0
_AT_THE_EDGE = 0.9  # of the reach
_LEAST_SEEN = 0.1  # of the region


@dataclass(frozen=True)
class RigidRefinement:
    """What came of a refinement.

    Attributes:
        transform: fixed to moving points: ``found`` if it was kept, else the start, as a rigid map.
        found: where the volumes are most alike near the start, right or wrong.
        metric_before: likeness at the start, more is better: minus the mean squared difference of the descriptors, or
            mutual information in nats.
        metric_after: the same at ``found``, over the same voxels.
        clear: whether ``distinct`` is so great that the start need not be near.
        distinct: by which share ``found`` is ahead of the best of six places 8 mm away from it; at most 1.
        moved_mm: how far the region's points lie apart through the start and through ``found``, on average.
        kept: whether ``transform`` is ``found``.
        reason: a sentence that says why it was not kept; empty if it was.
    """

    transform: RigidTransform
    found: RigidTransform
    metric_before: float
    metric_after: float
    distinct: float
    moved_mm: float
    kept: bool
    reason: str = ""
    clear: bool = False


def refine_rigid(
    fixed: Image,
    moving: Image,
    start: AffineTransform,
    *,
    metric: Metric = "mind",
    region: Image | None = None,
    centre: ArrayLike | None = None,
    margin_mm: float = 5.0,
    reach_mm: float = 8.0,
    progress: Callable[[float, str], None] | None = None,
    cancelled: CancelCheck | None = None,
    device: torch.device | str = "cpu",
) -> RigidRefinement:
    """Look near ``start`` for the rigid map through which the volumes are most alike; keep it if it can be trusted.

    Args:
        fixed: 3D, any orientation and spacing.
        moving: 3D.
        start: fixed to moving points; stretching and shearing are left out.
        metric: what is compared.
        region: above 0 where the fixed image counts, on any grid: the organ, say; everywhere when absent.
        centre: of rotation (mm); by default the centre of the region's box.
        margin_mm: how much the region grows on every side.
        reach_mm: farthest that the region's points may move on average.
        progress: called with the fraction done and a message.
        cancelled: asked before each look at the volumes.
        device: where the volumes are compared.

    Raises:
        ValueError: volumes that are not 3D, not finite or of one value, an empty region, or one that the start sends
            out of the moving volume.
        Cancelled: ``cancelled`` returned true.
    """
    _check(fixed, moving, region, start, margin_mm, reach_mm)
    whole = region if region is not None else fixed.with_data(torch.ones_like(fixed.data))
    middle = None if centre is None else np.asarray(centre, dtype=np.float64)
    rigid = torch.as_tensor(_rigid(start, start.centre).homogeneous)

    def ask() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled

    best, levels = rigid, _VOXELS_MM[metric]
    for number, voxel_mm in enumerate(levels):
        ask()
        if progress is not None:
            progress(number / len(levels), f"{metric}, voxels of {voxel_mm:g} mm")
        lattice = lattice_over(whole, fixed.grid, voxel_mm, margin_mm if region is not None else 0.0, middle)
        likeness = _LIKENESS[metric](View(fixed, moving, lattice, device))
        first = likeness.pose(rigid)
        _check_seen(first, lattice)
        # What a coarse level finds must hold on the finer one.
        begin = best if better(likeness, likeness.pose(best), first) else rigid
        best = fit(likeness, begin, _within(lattice, rigid, reach_mm), ask)
    return _judged(likeness, first, likeness.pose(best), metric, reach_mm)


def keep_better(network: AffineTransform, refined: RigidRefinement, spread_mm: float | None) -> RigidRefinement:
    """Return the refinement, or the network's result where the refinement went farther than the confidence allows.

    It may move the region's points by 2 mm, or by twice the spread where that is more, on average; as far as it
    reaches where its optimum is beyond doubt, for a network may have learned from volumes unlike these.

    Args:
        network: what was refined; fixed to moving points.
        refined: what `refine_rigid` made of it.
        spread_mm: how far the members of the network's ensemble lie apart (mm); None when that is not known.

    Raises:
        ValueError: a spread that is negative or not finite.
    """
    if spread_mm is not None and not (np.isfinite(spread_mm) and spread_mm >= 0):
        raise ValueError(f"spread_mm: expected 0 mm or more, got {spread_mm}")
    if not refined.kept:
        return refined
    limit = max(ALWAYS_ALLOWED_MM, SPREADS_ALLOWED * (spread_mm or 0.0))
    if refined.moved_mm <= limit or refined.clear:
        return refined
    return replace(
        refined,
        transform=_rigid(network, refined.found.centre),
        kept=False,
        reason=f"Refinement moved the organ by {refined.moved_mm:.1f} mm, more than the {limit:.1f} mm that the "
        "network's spread allows: the network's result was kept.",
    )


def _judged(likeness: Likeness, first: Pose, last: Pose, metric: Metric, reach_mm: float) -> RigidRefinement:
    lattice = likeness.view.lattice
    both = first.seen & last.seen
    before, after = likeness.value(first, both), likeness.value(last, both)
    distinct, moved = _lead_over_surroundings(likeness, last), lattice.apart(first.matrix, last.matrix)
    reason = ""
    if after <= before:
        reason = "Refinement found no place near the start at which the volumes are more alike: the start was kept."
    elif moved > _AT_THE_EDGE * reach_mm:
        reason = f"Refinement went as far as it was allowed to, {reach_mm:g} mm: the start was kept."
    elif distinct < _DISTINCT[metric]:
        reason = (
            f"Refinement found no distinct place: {_AWAY_MM:.0f} mm beside it the volumes are nearly as alike "
            f"(lead {distinct:.2f}, at least {_DISTINCT[metric]:.2f} is needed): the start was kept."
        )
    start, found = (_about(lattice.centre, pose.matrix.numpy()) for pose in (first, last))
    clear = distinct >= _CLEAR[metric]
    return RigidRefinement(start if reason else found, found, before, after, distinct, moved, not reason, reason, clear)


def _lead_over_surroundings(likeness: Likeness, pose: Pose) -> float:
    """Return the lead over the best of the places that lie 8 mm away along the axes; 0 where none can be seen."""
    leads = []
    for axis, way in product(range(3), (_AWAY_MM, -_AWAY_MM)):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[axis] = way
        there = likeness.pose(pose.matrix @ likeness.view.lattice.turned(shift))
        both = pose.seen & there.seen
        if int(both.sum()) >= _LEAST_SEEN * int(pose.seen.sum()):
            leads.append(likeness.lead(likeness.value(pose, both), likeness.value(there, both)))
    return min(leads, default=0.0)


def _within(lattice: Lattice, start: Tensor, reach_mm: float) -> Callable[[Tensor], bool]:
    return lambda matrix: lattice.apart(matrix, start) <= reach_mm


def _rigid(start: AffineTransform, centre: Matrix) -> RigidTransform:
    """Return the nearest rigid transform that sends the centre of ``start`` to the same place, about ``centre``."""
    return _about(centre, RigidTransform(nearest_rotation(start.matrix), start.translation, start.centre).homogeneous)


def _about(centre: Matrix, matrix: Matrix) -> RigidTransform:
    full = AffineTransform.from_homogeneous(matrix, centre)
    return RigidTransform(full.matrix, full.translation, full.centre)


def _check(
    fixed: Image, moving: Image, region: Image | None, start: AffineTransform, margin_mm: float, reach_mm: float
) -> None:
    named = {"fixed": fixed, "moving": moving, "region": region, "start": start}
    for name, given in named.items():
        if given is not None and given.dim != 3:
            raise ValueError(f"{name}: expected 3 dimensions, got {given.dim}; rigid refinement is for volumes")
    check_finite(fixed, "fixed")
    check_finite(moving, "moving")
    if not (np.isfinite(margin_mm) and margin_mm >= 0):
        raise ValueError(f"margin_mm: expected 0 mm or more, got {margin_mm}")
    if not (np.isfinite(reach_mm) and reach_mm > 0):
        raise ValueError(f"reach_mm: expected more than 0 mm, got {reach_mm}")


def _check_seen(pose: Pose, lattice: Lattice) -> None:
    share = int(pose.seen.sum()) / int(lattice.inside.sum())
    if share < _LEAST_SEEN:
        raise ValueError(
            f"start: it sends only {100 * share:.0f} % of the region into the moving image; "
            "bring the volumes together first"
        )
