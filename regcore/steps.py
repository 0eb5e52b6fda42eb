"""The steps of a registration between its initial transform and its outputs: networks, then refinement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from regcore.deformable_step import (
    added,
    dense_transform,
    have_contrast_in_common,
    network_displacement,
    runs_slicewise,
)
from regcore.grid import Grid
from regcore.metrics.similarity import ncc
from regcore.ops.contrast import matched
from regcore.ops.sampling import warp
from regcore.ops.unfolding import unfold
from regcore.preprocess import Inputs, Pair, make_pair
from regcore.progress import CancelCheck
from regcore.refine import RefineOptions, refine
from regcore.rigid_refine import RigidRefinement
from regcore.rigid_step import RigidStep, linear_start, refined_step, rigid_step
from regcore.settings import Settings
from regcore.slices import Stack
from regcore.transform import Transform

Report = Callable[[float, str], None]

SAME_CONTRAST = 0.5  # least correlation, after the initial transform, of images of one modality
_ONE_CONTRAST = 0.7  # the same once contrast is matched: more is asked for, since matching itself makes them alike

_LARGE_FOR_MIND = 1_500_000  # voxels from which its many channels stop at half size
_OTHER_CONTRAST = (
    "The images differ in contrast: where they show one rigid organ, a rigid result (init rigid, refine 0) is safer."
)
_TOO_UNLIKE = (
    "The images are too unlike for a deformation that could be trusted, even with their contrast matched: refinement "
    "was left out; refine N or similarity mind asks for it all the same."
)


@dataclass(frozen=True)
class Work:
    """What the steps work on: the pair in canonical order, the user's choices, the registration grid, the device."""

    inputs: Inputs
    settings: Settings
    grid: Grid
    device: torch.device


@dataclass(frozen=True)
class Found:
    """What is known after a stage: a linear part and, before it, a dense one in voxels of the registration grid.

    ``slicewise`` tells whether the dense part moves nothing between slices, ``seen_mm`` the voxel of the last trained
    deformable network: what is coarser has been looked at. ``may_fold`` tells whether the dense part is as a network
    left it, or a composition of two.
    """

    linear: Transform
    dense: Tensor | None = None
    network: RigidStep | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    refinement: RigidRefinement | None = None
    metric: str = "none"
    warnings: tuple[str, ...] = ()
    slicewise: bool = False
    seen_mm: float | None = None
    may_fold: bool = False

    def transform(self, grid: Grid) -> Transform:
        """Return both parts as one, ``grid`` being the registration grid."""
        return self.linear if self.dense is None else dense_transform(self.dense, grid, self.linear)


def rigid_network(name: str, found: Found, work: Work, report: Report, stop: CancelCheck) -> Found:
    """Run the passes of the rigid model ``name`` from the linear part, which its result replaces."""
    step = rigid_step(
        work.inputs,
        name,
        linear_start(found.linear),
        weights=work.settings.weights,
        passes=work.settings.passes,
        ensemble=work.settings.ensemble,
        seed=work.settings.seed,
        device=work.device,
        report=report,
        cancelled=stop,
    )
    warnings = (*found.warnings, *step.warnings)
    return replace(
        found, linear=step.transform, network=step, weights={**found.weights, **step.weights}, warnings=warnings
    )


def deformable_network(name: str, found: Found, work: Work, report: Report, stop: CancelCheck) -> Found:
    """Run the deformable model ``name`` on what is known; its displacement goes in front of the dense part."""
    displacement, own_grid, trained = network_displacement(
        work.inputs, name, found.transform(work.grid), work.settings, work.device, report
    )
    dense = added(displacement, own_grid, found.dense, work.grid)
    warnings = (*found.warnings, trained.warning) if trained.warning else found.warnings
    slicewise = runs_slicewise(name, work.inputs.fixed.grid, work.settings.slicewise, work.settings.weights)
    weights = {**found.weights, **trained.files}
    seen_mm = max(own_grid.spacing) if trained.files and not slicewise else found.seen_mm
    known = replace(found, weights=weights, warnings=warnings, slicewise=slicewise, seen_mm=seen_mm)
    return replace(known, dense=dense, may_fold=True)


def refined_rigid(found: Found, work: Work, report: Report, stop: CancelCheck) -> Found:
    """Improve the result of a rigid model on the pair, where that can be trusted."""
    assert found.network is not None
    metric: Literal["mind", "mi"] = "mi" if work.settings.similarity == "mi" else "mind"
    step, refinement = refined_step(found.network, work.inputs, metric, work.device, report, stop)
    return replace(found, linear=step.transform, network=step, metric=metric, refinement=refinement)


def refined(found: Found, work: Work, report: Report, stop: CancelCheck) -> Found:
    """Improve the dense part on the pair, slice by slice if it was found so; see `regcore.refine.refine`."""
    if work.settings.similarity == "mi":
        raise ValueError("similarity: mi is for rigid models; a deformable refinement takes auto, lncc or mind")
    asked = work.settings.slicewise
    slicewise = found.slicewise if asked is None else asked and work.grid.dim == 3
    # Slices cannot go on from a displacement across them: they are cut from what it shows.
    pair = make_pair(work.inputs, found.transform(work.grid) if slicewise else found.linear, work.grid)
    asked_for = work.settings.similarity
    near = found.dense if found.seen_mm is not None and not slicewise else None
    metric, pair = (asked_for, pair) if asked_for != "auto" else comparable(pair, near)
    if metric == "mind" and work.settings.left_open and not have_contrast_in_common(pair):
        return replace(found, warnings=(*found.warnings, _TOO_UNLIKE), slicewise=slicewise)
    options = _refine_options(pair, metric, work.settings)
    if slicewise:
        gain = _refine_slices(pair, Stack.of(work.grid), options, work.device, report, stop)
        dense = added(gain, work.grid, found.dense, work.grid)
    else:
        options = _without_seen(options, pair.grid, found.seen_mm)
        dense = _refine(pair, found.dense, options, work.device, report, stop)
    warnings = (*found.warnings, _OTHER_CONTRAST) if metric == "mind" else found.warnings
    may_fold = slicewise and found.dense is not None
    return replace(found, dense=dense, metric=metric, warnings=warnings, slicewise=slicewise, may_fold=may_fold)


def unfolded(found: Found, grid: Grid) -> Found:
    """Smooth the folds of a dense part that may have some, slice by slice if it was found so.

    Args:
        found: after the last stage.
        grid: the registration grid.
    """
    if found.dense is None or not found.may_fold:
        return found
    if not found.slicewise:
        return replace(found, dense=unfold(found.dense))
    dense, stack = found.dense.clone(), Stack.of(grid)
    in_plane = [axis for axis in range(3) if axis != stack.axis]
    for one in stack.cut(dense):  # each a view
        one[in_plane] = unfold(one[None, in_plane])[0]
    return replace(found, dense=dense)


def comparable(pair: Pair, near: Tensor | None) -> tuple[Literal["lncc", "mind"], Pair]:
    """Return what to compare the images by, and them.

    Where a trained network has brought them together, and the moving image in the fixed one's contrast is like it, it
    takes that contrast: closer than by MIND.

    Args:
        pair: images on one grid.
        near: ``(1, D, *shape)``, voxels: the displacement that a trained network found; None: none did.
    """
    if _likeness(pair) >= SAME_CONTRAST:
        return "lncc", pair
    if near is None:
        return "mind", pair
    moved = warp(pair.moving, near)
    if _likeness(replace(pair, moving=matched(moved, pair.fixed))) < _ONE_CONTRAST:
        return "mind", pair
    return "lncc", replace(pair, moving=matched(moved, pair.fixed, pair.moving))


def _likeness(pair: Pair) -> float:
    fixed, moving = pair.sparse()
    return ncc(fixed, moving, (fixed > 0) | (moving > 0))


def _refine(
    pair: Pair,
    initial: Tensor | None,
    options: RefineOptions,
    device: torch.device,
    report: Report,
    stop: CancelCheck,
    spacing: Sequence[float] | None = None,
) -> Tensor:
    def there(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(device)

    return refine(
        pair.fixed.to(device),
        pair.moving.to(device),
        there(initial),
        options=options,
        fixed_mask=there(pair.fixed_mask),
        moving_mask=there(pair.moving_mask),
        spacing=spacing or pair.grid.spacing[::-1],
        progress=report,
        cancelled=stop,
    ).cpu()


def _refine_slices(
    pair: Pair, stack: Stack, options: RefineOptions, device: torch.device, report: Report, stop: CancelCheck
) -> Tensor:
    masks = [None if part is None else stack.cut(part) for part in (pair.fixed_mask, pair.moving_mask)]
    slices = Pair(stack.cut(pair.fixed), stack.cut(pair.moving), masks[0], masks[1], pair.grid)
    spacing = list(pair.grid.spacing[::-1])
    del spacing[stack.axis]
    return stack.join(_refine(slices, None, options, device, report, stop, spacing))


def _refine_options(pair: Pair, similarity: Literal["lncc", "mind"], settings: Settings) -> RefineOptions:
    options = RefineOptions(similarity=similarity)
    if settings.quality == "fast" or (similarity == "mind" and pair.fixed.numel() > _LARGE_FOR_MIND):
        options = replace(options, finest=2, iterations=options.iterations[:-1])
    usual = sum(options.iterations)
    wanted = settings.refine
    if wanted is None:
        wanted = 2 * usual if settings.quality == "best" else usual
    return replace(options, iterations=tuple(round(n * wanted / usual) for n in options.iterations))


def _without_seen(options: RefineOptions, grid: Grid, seen_mm: float | None) -> RefineOptions:
    """Leave out the levels that are coarser than what a trained network has looked at, but never the finest one."""
    if seen_mm is None:
        return options
    last = len(options.iterations) - 1
    voxels = [min(grid.spacing) * options.finest * 2 ** (last - level) for level in range(last + 1)]
    kept = [
        n if voxel <= seen_mm or level == last else 0
        for level, (n, voxel) in enumerate(zip(options.iterations, voxels, strict=True))
    ]
    return replace(options, iterations=tuple(kept))
