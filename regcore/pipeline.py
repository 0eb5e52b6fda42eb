"""One registration, from two images to a transform and what it does to the moving one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as made_by

import torch
from torch import Tensor

from regcore.chain import stage_names, start_for, step_for
from regcore.checks import check_chain, check_inputs, check_overlap, choose_device
from regcore.field import DisplacementField, to_voxels
from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.inverse import Inverse, invert
from regcore.metrics.similarity import ncc, nmi
from regcore.ops.fields import jacobian_determinant
from regcore.ops.slabs import slabs
from regcore.preprocess import Inputs, dense_on, intensity_floor, registration_grid
from regcore.progress import CancelCheck, Progress
from regcore.rigid_refine import RigidRefinement
from regcore.rigid_step import RigidStep, is_rigid
from regcore.settings import Settings
from regcore.stages import Stages
from regcore.start import StartKind, bring_together, needs_overlap
from regcore.steps import SAME_CONTRAST, Found, Report, Work, unfolded
from regcore.transform import CompositeTransform, DenseTransform, Transform
from regcore.warp import resample, warp
from regcore.watch import asking


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
        slicewise: whether nothing but the initial transform moves anything between slices.
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
    slicewise: bool = False
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
    check_chain(settings, inputs.fixed.dim)
    check_inputs(inputs)
    networks = settings.networks
    rigid = bool(networks) and is_rigid(networks[-1])
    kinds = settings.init or start_for(inputs, settings)
    if needs_overlap(kinds, start):
        check_overlap(inputs)
    names = stage_names(settings.chain)
    shares = {"initial transform": 2.0, **dict.fromkeys(names, 5.0), "outputs": 2.0}
    stages = Stages(shares, progress, cancelled)
    upright, note = inputs.upright(), None
    if not rigid or {"rigid", "affine"} & set(kinds):
        upright, note = upright.with_seen_parts()
    grid = registration_grid(upright.fixed.grid)

    with stages.stage("initial transform") as report:
        initial, sentences = bring_together(upright, kinds, start, report, stages.asked_to_stop)
    work = Work(upright, settings, grid, device)
    found = Found(initial, warnings=(*sentences, *([note] if note else [])))
    for name, title in zip(settings.chain, names, strict=True):
        with stages.stage(title) as report, asking(stages.asked_to_stop):
            found = step_for(name, found)(found, work, report, stages.asked_to_stop)
    with stages.stage("outputs") as report, asking(stages.asked_to_stop):
        found = unfolded(found, grid)
        transform = _assemble(found.dense, grid, inputs.fixed.grid, found.linear)
        result = _apply(inputs, transform, initial, settings.inverse, report)
    return replace(
        result,
        init=kinds,
        metric=found.metric,
        weights=found.weights,
        network=found.network,
        refinement=found.refinement,
        slicewise=found.slicewise,
        device=str(device),
        seconds=stages.seconds,
        # Between MRI and ultrasound likeness says little; there the spread is what tells.
        warnings=found.warnings if rigid else (*result.warnings, *found.warnings),
    )


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
    before = resample(moving, fixed.grid, outside=outside)
    report(0.4, "Jacobian")
    determinant = Image(_determinant(field), fixed.grid)
    report(0.6, "inverse")
    back = invert(transform, fixed.grid, lambda _: report(0.6, "inverse")) if inverse else None
    # Correlation says nothing of images that differ in contrast: there mutual information is compared.
    name, measure = ("ncc", ncc) if ncc(fixed.data, warped.data) >= SAME_CONTRAST else ("nmi", nmi)
    similarity = {"before": measure(fixed.data, before.data), "after": measure(fixed.data, warped.data)}
    sentence = "The images are less alike after registration than before: look before you use it."
    warnings = (sentence,) if similarity["after"] < similarity["before"] else ()
    return Registration(transform, initial, field, before, warped, determinant, back, similarity, name, warnings)


def _determinant(field: DisplacementField) -> Tensor:
    """Return `DisplacementField.jacobian_determinant`, made in slabs: faster, and a cancel is heard between them."""
    voxels = to_voxels(field)
    parts = slabs(field.grid.shape, reach=1)
    return torch.cat([jacobian_determinant(voxels[:, :, part.outer])[0][part.inner] for part in parts])
