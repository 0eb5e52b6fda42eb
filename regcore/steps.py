"""The steps of a registration between its initial transform and its outputs: networks, then refinement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor

from regcore.field import from_voxels
from regcore.grid import Grid
from regcore.metrics.similarity import ncc
from regcore.models import RegistrationModel, model_info
from regcore.preprocess import Inputs, Pair, displacement_from, make_pair, registration_grid
from regcore.progress import CancelCheck
from regcore.refine import RefineOptions, refine
from regcore.rigid_refine import RigidRefinement
from regcore.rigid_step import RigidStep, linear_start, refined_step, rigid_step
from regcore.settings import Settings
from regcore.transform import Transform
from regcore.weights import load_trained

Report = Callable[[float, str], None]

SAME_CONTRAST = 0.5  # least correlation, after the initial transform, of images of one modality

_LARGE_FOR_MIND = 1_500_000  # voxels from which its many channels stop at half size
_OTHER_CONTRAST = (
    "The images differ in contrast: where they show one rigid organ, a rigid result (init rigid, refine 0) is safer."
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
    """What is known after a stage: a linear part and, before it, a dense one in voxels of the registration grid."""

    linear: Transform
    dense: Tensor | None = None
    network: RigidStep | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    refinement: RigidRefinement | None = None
    metric: str = "none"
    warnings: tuple[str, ...] = ()


def rigid_network(found: Found, work: Work, report: Report, stop: CancelCheck) -> Found:
    """Run the stages of a rigid model from the linear part, which its result replaces."""
    step = rigid_step(
        work.inputs,
        work.settings.model,
        linear_start(found.linear),
        weights=work.settings.weights,
        stages=work.settings.stages,
        ensemble=work.settings.ensemble,
        seed=work.settings.seed,
        device=work.device,
        report=report,
        cancelled=stop,
    )
    warnings = (*found.warnings, *step.warnings)
    return replace(found, linear=step.transform, network=step, weights=step.weights, warnings=warnings)


def deformable_network(found: Found, work: Work, report: Report, stop: CancelCheck) -> Found:
    """Run the network on a grid of its own spacing; its displacement is kept in voxels of the registration grid."""
    spacing = model_info(work.settings.model).default_spacing_mm
    own_grid = registration_grid(work.inputs.fixed.grid, max(spacing, min(work.inputs.fixed.grid.spacing)))
    pair = make_pair(work.inputs, found.linear, own_grid)
    torch.manual_seed(work.settings.seed)
    trained = load_trained(work.settings.model, work.settings.weights)
    model = cast(RegistrationModel, trained.networks[0]).to(work.device)
    with torch.inference_mode():
        displacement = model(pair.fixed.to(work.device), pair.moving.to(work.device)).displacement.cpu()
    dense = displacement_from(from_voxels(displacement, own_grid), work.grid)
    warnings = (*found.warnings, trained.warning) if trained.warning else found.warnings
    return replace(found, dense=dense, weights=trained.files, warnings=warnings)


def refined_rigid(found: Found, work: Work, report: Report, stop: CancelCheck) -> Found:
    """Improve the result of a rigid model on the pair, where that can be trusted."""
    assert found.network is not None
    metric: Literal["mind", "mi"] = "mi" if work.settings.similarity == "mi" else "mind"
    step, refinement = refined_step(found.network, work.inputs, metric, work.device, report, stop)
    return replace(found, linear=step.transform, network=step, metric=metric, refinement=refinement)


def refined(found: Found, work: Work, report: Report, stop: CancelCheck) -> Found:
    """Improve the dense part on the pair; see `regcore.refine.refine`."""
    pair = make_pair(work.inputs, found.linear, work.grid)
    if work.settings.similarity == "mi":
        raise ValueError("similarity: mi is for rigid models; a deformable refinement takes auto, lncc or mind")
    metric = work.settings.similarity if work.settings.similarity != "auto" else _similarity_for(pair)
    dense = _refine(pair, found.dense, metric, work.settings.refine, work.device, report, stop)
    warnings = (*found.warnings, _OTHER_CONTRAST) if metric == "mind" else found.warnings
    return replace(found, dense=dense, metric=metric, warnings=warnings)


def _similarity_for(pair: Pair) -> Literal["lncc", "mind"]:
    same = ncc(pair.fixed, pair.moving, (pair.fixed > 0) | (pair.moving > 0)) >= SAME_CONTRAST
    return "lncc" if same else "mind"


def _refine(
    pair: Pair,
    initial: Tensor | None,
    similarity: Literal["lncc", "mind"],
    iterations: int | None,
    device: torch.device,
    report: Report,
    stop: CancelCheck,
) -> Tensor:
    options = _refine_options(pair, similarity, iterations)

    def there(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(device)

    return refine(
        pair.fixed.to(device),
        pair.moving.to(device),
        there(initial),
        options=options,
        fixed_mask=there(pair.fixed_mask),
        moving_mask=there(pair.moving_mask),
        spacing=pair.grid.spacing[::-1],
        progress=report,
        cancelled=stop,
    ).cpu()


def _refine_options(pair: Pair, similarity: Literal["lncc", "mind"], iterations: int | None) -> RefineOptions:
    options = RefineOptions(similarity=similarity)
    if similarity == "mind" and pair.fixed.numel() > _LARGE_FOR_MIND:
        options = replace(options, finest=2, iterations=options.iterations[:-1])
    if iterations is None:
        return options
    share = iterations / sum(options.iterations)
    return replace(options, iterations=tuple(round(n * share) for n in options.iterations))
