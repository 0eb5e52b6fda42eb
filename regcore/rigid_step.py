"""The network step of a rigid registration: which weights, which organ, how sure, and what to fall back on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from regcore.crop import gland_crop
from regcore.gland_alignment import align_glands
from regcore.image import Image
from regcore.metrics.registration_error import surface_points
from regcore.models import RigidModel
from regcore.organ_search import find_organ
from regcore.preprocess import Inputs
from regcore.progress import CancelCheck
from regcore.rigid import register_rigid
from regcore.rigid_refine import Metric, RigidRefinement, keep_better, refine_rigid
from regcore.transform import AffineTransform, CompositeTransform, RigidTransform, Transform
from regcore.weights import Trained, find_model, load_trained

PASSES = 4  # of networks in two stages, the second one again and again: on cases 0 to 15 the error falls by 6 %
UNSURE_MM = 3.0
REFINEMENT_REACH_MM = 15.0

_FEWEST_SLICES = 4
_LIKELY_MM = (12.0, 110.0)  # sides of a prostate's bounding box


@dataclass(frozen=True)
class RigidStep:
    """What the networks made of a pair.

    Attributes:
        transform: fixed to moving points.
        spread_mm: see `regcore.rigid.RigidResult`; where the organ had to be searched for, the doubt about that too.
        model: whose weights ran, and ``weights``: file name to SHA-256.
        weights: see ``model``.
        organ: the mask that was looked at; the one given, or an ellipsoid where the search found one.
        seconds: of each stage.
        warnings: sentences a user should read.
    """

    transform: RigidTransform
    spread_mm: float | None
    model: str
    weights: dict[str, str]
    organ: Image
    seconds: tuple[float, ...]
    warnings: tuple[str, ...]


def rigid_step(
    inputs: Inputs,
    model: str,
    start: AffineTransform,
    *,
    weights: Path | None = None,
    passes: int | None = None,
    ensemble: int = 8,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[float, str], None] | None = None,
    cancelled: CancelCheck | None = None,
) -> RigidStep:
    """Run a rigid model from ``start``.

    Without a gland in ``inputs`` the organ is searched for. Where the ensemble disagrees by more than `UNSURE_MM` and
    both glands are known, their alignment is the result instead.

    Args:
        inputs: 3D images and their glands.
        model: name of a rigid model.
        start: fixed to moving points; rigid.
        weights: folder of weights to use in the place of the user's and the package's.
        passes: how many stages run, see `register_rigid`; by default `PASSES` where there are two networks or more.
        ensemble: see `register_rigid`.
        seed: of the ensemble, and of a network without weights.
        device: where it runs.
        report: told the fraction done and a message.
        cancelled: asked now and then.

    Raises:
        ValueError: volumes, gland or start that the model cannot work with, in one sentence.
    """
    _check_volumes(inputs)
    torch.manual_seed(seed)
    trained = load_trained(model, weights)
    networks = _on(trained, device)
    warnings = [trained.warning] if trained.warning else []
    gland = inputs.fixed_gland
    doubt_mm: float | None = None
    if gland is None:
        if networks[0].convention.fixed_input == "label":
            raise ValueError(f"fixed-labels: {model} looks at the gland's mask; pass labels with the gland as label 1")
        gland, doubt_mm = find_organ(networks, inputs.fixed, inputs.moving, start, device, report, cancelled)
        warnings.append("No gland was given: where to look was searched for, which is less accurate; pass labels.")
    else:
        warnings += _doubts(gland, networks[0].input_size)
    _check_start(gland, inputs.moving, start)
    if report is not None:
        report(0.5, "network")
    found = register_rigid(
        networks,
        inputs.fixed,
        inputs.moving,
        gland,
        start,
        stages=usual_passes(networks) if passes is None else passes,
        ensemble=ensemble,
        seed=seed,
        device=device,
        cancelled=cancelled,
    )
    # Not knowing where to look is part of not being sure.
    known = [value for value in (found.spread_mm, doubt_mm) if value is not None]
    spread = max(known) if known else None
    transform, sentences = _or_labels(found.transform, spread, inputs)
    warnings += sentences
    return RigidStep(transform, spread, trained.name, trained.files, gland, found.seconds, tuple(warnings))


def usual_passes(networks: Sequence[RigidModel]) -> int:
    """Return how many stages run when nobody says how many."""
    return max(PASSES, len(networks)) if len(networks) > 1 else 1


def refined_step(
    step: RigidStep,
    inputs: Inputs,
    metric: Metric,
    device: torch.device | str = "cpu",
    report: Callable[[float, str], None] | None = None,
    cancelled: CancelCheck | None = None,
) -> tuple[RigidStep, RigidRefinement]:
    """Refine a result on the pair itself, about the organ; it stays as it is where the refinement cannot be trusted."""
    refined = refine_rigid(
        inputs.fixed,
        inputs.moving,
        step.transform,
        metric=metric,
        region=step.organ,
        reach_mm=REFINEMENT_REACH_MM,
        device=device,
        progress=report,
        cancelled=cancelled,
    )
    kept = keep_better(step.transform, refined, step.spread_mm)
    return (replace(step, transform=kept.transform) if kept.kept else step), kept


def is_rigid(model: str) -> bool:
    """Whether ``model`` finds a rigid transform; ``none`` does not."""
    return model != "none" and find_model(model).kind == "rigid"


def linear_start(start: Transform) -> AffineTransform:
    """Return ``start`` as one matrix.

    Raises:
        ValueError: it is not linear.
    """
    if isinstance(start, CompositeTransform) and all(isinstance(part, AffineTransform) for part in start.parts):
        parts = [cast(AffineTransform, part) for part in start.parts]
        for then in parts[1:]:
            parts[0] = parts[0].compose(then)
        return parts[0]
    if isinstance(start, AffineTransform):
        return start
    raise ValueError(f"init: a rigid model goes on from a rigid transform, not from a {type(start).__name__}")


def organ_start(gland: Image, moving: Image) -> RigidTransform:
    """Return the shift that takes the gland's centre to the middle of the moving volume.

    An ultrasound sweep is centred on the gland, and its header seldom knows the scanner's frame.
    """
    crop = gland_crop(gland, (1, 1, 1))
    return RigidTransform(np.eye(3), moving.grid.centre - crop.centre, crop.centre)


def _on(trained: Trained, device: torch.device | str) -> list[RigidModel]:
    return [cast(RigidModel, network).to(device) for network in trained.networks]


def _check_volumes(inputs: Inputs) -> None:
    for name, image in (("fixed", inputs.fixed), ("moving", inputs.moving)):
        if min(image.grid.size) < _FEWEST_SLICES:
            raise ValueError(
                f"{name}: expected a volume, got {' x '.join(map(str, image.grid.size))} voxels; "
                "a rigid 3D registration needs a sweep, not a single frame"
            )


def _check_start(gland: Image, moving: Image, start: AffineTransform) -> None:
    index = moving.grid.to_index(start(surface_points(gland)))
    if not ((index >= -0.5) & (index <= np.asarray(moving.grid.size) - 0.5)).all(axis=1).any():
        raise ValueError(
            "init: the start sends the gland outside the moving volume; leave --init out, or use centre or organ"
        )


def _doubts(gland: Image, size: tuple[int, int, int]) -> list[str]:
    """Return sentences about a gland that may not be one."""
    found = []
    inside = gland.data > 0
    faces = [inside.select(axis, end) for axis in range(3) for end in (0, -1)]
    if any(bool(face.any()) for face in faces):
        found.append("The gland touches the border of the image: it may be cut off, and the result less accurate.")
    sides = gland_crop(gland, size, 1.0).extent
    if min(sides) < _LIKELY_MM[0] or max(sides) > _LIKELY_MM[1]:
        measured = " x ".join(f"{side:.0f}" for side in sides)
        found.append(f"The gland measures {measured} mm, unlikely for a prostate: check label 1 and the spacing.")
    return found


def _or_labels(transform: RigidTransform, spread_mm: float | None, inputs: Inputs) -> tuple[RigidTransform, list[str]]:
    """Return the networks' result or, where they disagree and both glands are known, the glands' alignment."""
    if spread_mm is None or spread_mm <= UNSURE_MM:
        return transform, []
    apart = f"Runs from slightly different starts ended {spread_mm:.1f} mm apart"
    if inputs.fixed_gland is None or inputs.moving_gland is None:
        return transform, [f"{apart}: the result is not sure, look before you use it."]
    aligned = align_glands(inputs.fixed_gland, inputs.moving_gland)
    return aligned.transform, [f"{apart}: the glands' outlines were aligned instead.", *aligned.warnings]
