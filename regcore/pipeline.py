"""One registration, from two images to a transform and what it does to the moving one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as made_by
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor

from regcore.checks import check_inputs, check_model, check_overlap, choose_device
from regcore.field import DisplacementField, from_voxels
from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.inverse import Inverse, invert
from regcore.metrics.similarity import ncc, nmi
from regcore.models import RegistrationModel, model_info
from regcore.preprocess import Inputs, Pair, dense_on, displacement_from, intensity_floor, make_pair, registration_grid
from regcore.progress import CancelCheck, Progress
from regcore.refine import RefineOptions, refine
from regcore.rigid_refine import RigidRefinement
from regcore.rigid_step import RigidStep, is_rigid, linear_start, refined_step, rigid_step
from regcore.stages import Stages
from regcore.start import StartKind, bring_together, needs_overlap, usual_start
from regcore.transform import CompositeTransform, DenseTransform, Transform
from regcore.warp import warp
from regcore.weights import load_trained

Similarity = Literal["auto", "lncc", "mind", "mi"]
Report = Callable[[float, str], None]

_LARGE_FOR_MIND = 1_500_000  # voxels from which its many channels stop at half size
_OTHER_CONTRAST = (
    "The images differ in contrast: where they show one rigid organ, a rigid result (init rigid, refine 0) is safer."
)
_SAME_CONTRAST = 0.5  # least correlation, after the initial transform, of images of one modality


@dataclass(frozen=True)
class Settings:
    """What a user may choose.

    Attributes:
        model: a name of `regcore.models.list_models`, or ``none``: initial transform and refinement alone.
        init: how the volumes are brought together first, one step after the other; None: as suits the model.
        refine: iterations on the pair itself: None the default budget, 0 none; of a rigid model it is on or off.
        similarity: what refinement compares: ``lncc`` within a modality, ``mind`` across, ``auto`` by correlation; of
            a rigid model ``mind``, unless ``mi``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        inverse: also work out the way back.
        seed: of the weights of a model that has none on file, and of the ensemble.
        weights: folder of weights to use in the place of those that come with the package.
        stages: of a rigid model; None: one per trained network.
        ensemble: runs of a rigid model from slightly different starts; 1: no spread is known.
    """

    model: str = "none"
    init: tuple[StartKind, ...] | None = None
    refine: int | None = None
    similarity: Similarity = "auto"
    device: str = "auto"
    inverse: bool = True
    seed: int = 0
    weights: Path | None = None
    stages: int | None = None
    ensemble: int = 8


@dataclass(frozen=True)
class Registration:
    """What `register` returns; all images lie on the fixed image's own grid.

    Attributes:
        transform: fixed to moving points (mm).
        initial: the initial transform alone.
        field: ``transform`` as displacements on the fixed grid.
        before: the moving image as it came.
        warped: the moving image through ``transform``.
        determinant: Jacobian determinant of ``transform``; <= 0 is folding.
        inverse: moving to fixed points with the measured error; None when not wanted.
        similarity: to the fixed image, ``before`` and ``after``.
        similarity_name: ``ncc``, or ``nmi`` for images that differ in contrast.
        init: the steps that gave ``initial``.
        metric: what refinement compared: ``lncc``, ``mind`` or ``none``.
        weights: file name to SHA-256 of the trained weights that ran; empty: none did.
        network: what a rigid model found, its spread among it; None for others.
        refinement: whether that was improved on the pair itself, and if not, why; None: it was not tried.
        device: where network and refinement ran.
        seconds: wall seconds per stage.
        warnings: sentences a user should read.
    """

    transform: Transform
    initial: Transform
    field: DisplacementField
    before: Image
    warped: Image
    determinant: Image
    inverse: Inverse | None
    similarity: dict[str, float]
    similarity_name: str
    warnings: tuple[str, ...]
    init: tuple[StartKind, ...] = ()
    metric: str = "none"
    weights: Mapping[str, str] = made_by(default_factory=dict)
    network: RigidStep | None = None
    refinement: RigidRefinement | None = None
    device: str = ""
    seconds: Mapping[str, float] = made_by(default_factory=dict)


def register(
    inputs: Inputs,
    settings: Settings | None = None,
    *,
    start: Transform | None = None,
    progress: Progress | None = None,
    cancelled: CancelCheck | None = None,
) -> Registration:
    """Register the moving image to the fixed one.

    Args:
        inputs: two images of any orientation, spacing and pixel type, 2D or 3D, and their masks.
        settings: see `Settings`.
        start: a transform known before, fixed to moving points, that ``settings.init`` goes on from.
        progress: told how far it is.
        cancelled: asked now and then.

    Raises:
        ValueError: input that cannot be registered, in one sentence.
        regcore.checks.DeviceError: the device is not there.
        regcore.progress.Cancelled: ``cancelled`` returned true.
    """
    settings = settings or Settings()
    device = choose_device(settings.device)
    check_model(settings.model, inputs.fixed.dim)
    check_inputs(inputs)
    rigid = is_rigid(settings.model)
    kinds = settings.init or usual_start(inputs, rigid)
    if needs_overlap(kinds, start):
        check_overlap(inputs)
    stages = Stages(_shares(settings), progress, cancelled)
    upright, note = inputs.upright(), None
    if not rigid or {"rigid", "affine"} & set(kinds):
        upright, note = upright.with_seen_parts()
    grid = registration_grid(upright.fixed.grid)

    with stages.stage("initial transform") as report:
        initial, sentences = bring_together(upright, kinds, start, report, stages.asked_to_stop)
    found = _Found(initial, warnings=(*sentences, *([note] if note else [])))
    if settings.model != "none":
        with stages.stage(settings.model) as report:
            network = _rigid_network if rigid else _deformable_network
            found = network(found, upright, settings, grid, device, report, stages.asked_to_stop)
    if settings.refine != 0:
        with stages.stage("refinement") as report:
            refined = _refined_rigid if rigid else _refined
            found = refined(found, upright, settings, grid, device, report, stages.asked_to_stop)
    with stages.stage("outputs") as report:
        transform = _assemble(found.dense, grid, inputs.fixed.grid, found.linear)
        result = _apply(inputs, transform, initial, settings.inverse, report)
    return replace(
        result,
        init=kinds,
        metric=found.metric,
        weights=found.weights,
        network=found.network,
        refinement=found.refinement,
        device=str(device),
        seconds=stages.seconds,
        warnings=(*result.warnings, *found.warnings),
    )


@dataclass(frozen=True)
class _Found:
    """What is known after a stage: a linear part and, before it, a dense one in voxels of the registration grid."""

    linear: Transform
    dense: Tensor | None = None
    network: RigidStep | None = None
    weights: Mapping[str, str] = made_by(default_factory=dict)
    refinement: RigidRefinement | None = None
    metric: str = "none"
    warnings: tuple[str, ...] = ()


def _shares(settings: Settings) -> dict[str, float]:
    model = {settings.model: 5.0} if settings.model != "none" else {}
    refinement = {"refinement": 6.0} if settings.refine != 0 else {}
    return {"initial transform": 2.0, **model, **refinement, "outputs": 2.0}


def _rigid_network(
    found: _Found,
    inputs: Inputs,
    settings: Settings,
    grid: Grid,
    device: torch.device,
    report: Report,
    stop: CancelCheck,
) -> _Found:
    step = rigid_step(
        inputs,
        settings.model,
        linear_start(found.linear),
        weights=settings.weights,
        stages=settings.stages,
        ensemble=settings.ensemble,
        seed=settings.seed,
        device=device,
        report=report,
        cancelled=stop,
    )
    warnings = (*found.warnings, *step.warnings)
    return replace(found, linear=step.transform, network=step, weights=step.weights, warnings=warnings)


def _deformable_network(
    found: _Found,
    inputs: Inputs,
    settings: Settings,
    grid: Grid,
    device: torch.device,
    report: Report,
    stop: CancelCheck,
) -> _Found:
    """Run the network on a grid of its own spacing; its displacement is kept in voxels of ``grid``."""
    spacing = model_info(settings.model).default_spacing_mm
    own_grid = registration_grid(inputs.fixed.grid, max(spacing, min(inputs.fixed.grid.spacing)))
    pair = make_pair(inputs, found.linear, own_grid)
    torch.manual_seed(settings.seed)
    trained = load_trained(settings.model, settings.weights)
    model = cast(RegistrationModel, trained.networks[0]).to(device)
    with torch.inference_mode():
        displacement = model(pair.fixed.to(device), pair.moving.to(device)).displacement.cpu()
    dense = displacement_from(from_voxels(displacement, own_grid), grid)
    warnings = (*found.warnings, trained.warning) if trained.warning else found.warnings
    return replace(found, dense=dense, weights=trained.files, warnings=warnings)


def _refined_rigid(
    found: _Found,
    inputs: Inputs,
    settings: Settings,
    grid: Grid,
    device: torch.device,
    report: Report,
    stop: CancelCheck,
) -> _Found:
    assert found.network is not None
    metric: Literal["mind", "mi"] = "mi" if settings.similarity == "mi" else "mind"
    step, refinement = refined_step(found.network, inputs, metric, device, report, stop)
    return replace(found, linear=step.transform, network=step, metric=metric, refinement=refinement)


def _refined(
    found: _Found,
    inputs: Inputs,
    settings: Settings,
    grid: Grid,
    device: torch.device,
    report: Report,
    stop: CancelCheck,
) -> _Found:
    pair = make_pair(inputs, found.linear, grid)
    if settings.similarity == "mi":
        raise ValueError("similarity: mi is for rigid models; a deformable refinement takes auto, lncc or mind")
    metric = settings.similarity if settings.similarity != "auto" else _similarity_for(pair)
    dense = _refine(pair, found.dense, metric, settings.refine, device, report, stop)
    warnings = (*found.warnings, _OTHER_CONTRAST) if metric == "mind" else found.warnings
    return replace(found, dense=dense, metric=metric, warnings=warnings)


def _similarity_for(pair: Pair) -> Literal["lncc", "mind"]:
    same = ncc(pair.fixed, pair.moving, (pair.fixed > 0) | (pair.moving > 0)) >= _SAME_CONTRAST
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


def _assemble(dense: Tensor | None, grid: Grid, fixed: Grid, initial: Transform) -> Transform:
    """Chain the dense part, on the fixed image's stored grid, and the initial transform."""
    if dense is None:
        return initial
    part = DenseTransform(dense_on(dense, grid, fixed, Reorientation.to_canonical(fixed)))
    rest = initial.parts if isinstance(initial, CompositeTransform) else (initial,)
    return CompositeTransform((part, *rest))


def _apply(inputs: Inputs, transform: Transform, initial: Transform, inverse: bool, report: Report) -> Registration:
    fixed, moving = inputs.fixed, inputs.moving
    outside = intensity_floor(moving)
    field = transform.displacement_on(fixed.grid)
    report(0.2, "warping")
    warped = warp(moving, field, fixed.grid, outside=outside)
    before = warp(moving, DisplacementField.identity(fixed.grid), fixed.grid, outside=outside)
    report(0.4, "Jacobian")
    determinant = Image(field.jacobian_determinant(), fixed.grid)
    report(0.6, "inverse")
    back = invert(transform, fixed.grid, lambda _: report(0.6, "inverse")) if inverse else None
    # Correlation says nothing of images that differ in contrast: there mutual information is compared.
    name, measure = ("ncc", ncc) if ncc(fixed.data, warped.data) >= _SAME_CONTRAST else ("nmi", nmi)
    similarity = {"before": measure(fixed.data, before.data), "after": measure(fixed.data, warped.data)}
    warnings = []
    if similarity["after"] < similarity["before"]:
        warnings.append("The images are less alike after registration than before: look before you use it.")
    return Registration(transform, initial, field, before, warped, determinant, back, similarity, name, tuple(warnings))
