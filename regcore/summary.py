"""The figures of one registration: what report.json holds and report.html shows."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from regcore import __version__
from regcore.field import DisplacementField, to_voxels
from regcore.gland_alignment import align_glands
from regcore.image import Image
from regcore.landmarks import Landmarks
from regcore.metrics.folding import folding
from regcore.metrics.landmarks import tre
from regcore.metrics.overlap import dsc
from regcore.metrics.quality import ssim, uiqi
from regcore.metrics.registration_error import sre, surface_points
from regcore.metrics.regularity import folding_percent, sdlogj
from regcore.metrics.surface import surface_distances
from regcore.metrics.topology import topology_change
from regcore.pipeline import Registration
from regcore.preprocess import Inputs, normalise
from regcore.settings import Settings
from regcore.slices import Stack
from regcore.transform import AffineTransform, Transform
from regcore.warp import resample, warp

_SMALLEST = 11  # pixels: the windows of SSIM and UIQI must fit


@dataclass(frozen=True)
class Truth:
    """What is known of the pair besides the images; each part may be missing.

    Attributes:
        fixed_labels: label map of the fixed image.
        moving_labels: label map of the moving image, with the same numbers.
        fixed_landmarks: points in the fixed image.
        moving_landmarks: the same points in the moving image, in the same order.
        transform: the true one, fixed to moving points.
    """

    fixed_labels: Image | None = None
    moving_labels: Image | None = None
    fixed_landmarks: Landmarks | None = None
    moving_landmarks: Landmarks | None = None
    transform: Transform | None = None


def summarise(result: Registration, inputs: Inputs, settings: Settings, truth: Truth) -> dict[str, object]:
    """Return the figures of one registration as plain numbers, strings and lists.

    ``before`` is the moving image as it came, ``initial`` after the initial transform alone, ``after`` the result.
    """
    determinant = result.determinant.data
    summary: dict[str, object] = {
        "version": __version__,
        "model": ", ".join(settings.networks) or "none",
        "weights": dict(result.weights) or None,
        "device": result.device,
        "similarity": {"name": result.similarity_name, **_rounded(result.similarity)},
        "folding_percent": folding_percent(determinant),
        "sdlogj": _finite(sdlogj(determinant)),
        "jacobian": _rounded({"min": float(determinant.min()), "max": float(determinant.max())}),
        "round_trip_mm": None,
        "stages": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in result.seconds.items()],
        "seconds": round(sum(result.seconds.values()), 3),
        "cpu_seconds": round(time.process_time(), 3),
        "settings": _settings(result, settings),
        "warnings": list(result.warnings),
        "fixed": _described(inputs.fixed),
        "moving": _described(inputs.moving),
    }
    if inputs.fixed.dim == 2 or result.slicewise:
        summary |= _picture_figures(result, inputs.fixed)
    if result.inverse is not None:
        errors = {"mean": result.inverse.error_mean_mm, "max": result.inverse.error_max_mm}
        summary["round_trip_mm"] = _rounded(errors)
    if truth.fixed_labels is not None and truth.moving_labels is not None:
        summary |= _label_figures(result, inputs.fixed, truth.fixed_labels, truth.moving_labels)
    if truth.fixed_landmarks is not None and truth.moving_landmarks is not None:
        summary["tre_mm"] = _landmark_figures(result, truth.fixed_landmarks, truth.moving_landmarks)
    return summary | _rigid_figures(result, inputs, truth)


def _settings(result: Registration, settings: Settings) -> dict[str, object]:
    chosen = {
        **asdict(settings),
        "init": list(result.init),
        "stages": list(settings.chain),
        "slicewise": result.slicewise,
        "metric": result.metric,
    }
    # The folder's name alone: a path may carry a patient's name.
    return chosen | {"weights": settings.weights.name if settings.weights is not None else None}


def _rigid_figures(result: Registration, inputs: Inputs, truth: Truth) -> dict[str, object]:
    """Spread of a rigid network's ensemble, and the surface registration error where a true transform is known."""
    figures: dict[str, object] = {}
    network = result.network
    if network is not None:
        figures["spread_mm"] = None if network.spread_mm is None else _finite(network.spread_mm)
        figures["network_stages"] = [round(seconds, 4) for seconds in network.seconds]
        figures["network"] = network.model
    if result.refinement is not None:
        figures["refinement"] = {"kept": result.refinement.kept, "reason": result.refinement.reason}
    gland = inputs.fixed_gland
    if gland is None:
        return figures
    reference, source, doubt = truth.transform, "true transform", None
    if reference is None and network is not None and inputs.moving_gland is not None:
        landmarks = [
            None if points is None else points.points for points in (truth.fixed_landmarks, truth.moving_landmarks)
        ]
        aligned = align_glands(gland, inputs.moving_gland, fixed_landmarks=landmarks[0], moving_landmarks=landmarks[1])
        reference, source, doubt = aligned.transform, "alignment of the glands", aligned.error_mm
    if reference is not None:
        surface = surface_points(gland)
        identity = AffineTransform.identity(inputs.fixed.dim)
        ways = {"before": identity, "initial": result.initial, "after": result.transform}
        errors = {when: sre(surface, way, reference) for when, way in ways.items()}
        figures["sre_mm"] = {**_rounded(errors), "reference": source, "reference_error_mm": doubt and _finite(doubt)}
    return figures


def _picture_figures(result: Registration, fixed: Image) -> dict[str, object]:
    """Return what papers on slices report: SSIM and UIQI of intensities from 0 to 1, folding by every definition."""
    axis = Stack.of(fixed.grid).axis if fixed.dim == 3 else None
    shown = [normalise(image) for image in (fixed, result.before, result.warped)]
    if axis is not None:
        shown = [volume.movedim(axis, 0) for volume in shown]
    figures: dict[str, object] = {"folding": _rounded(folding(to_voxels(result.field)[0])._asdict())}
    if min(shown[0].shape[-2:]) < _SMALLEST:
        return figures
    for name, measure in (("ssim", ssim), ("uiqi", uiqi)):
        before, after = (measure(shown[0], image, slicewise=axis is not None) for image in shown[1:])
        figures[name] = _rounded({"before": before, "after": after})
    return figures


def _label_figures(result: Registration, fixed: Image, fixed_labels: Image, moving_labels: Image) -> dict[str, object]:
    there = fixed_labels if fixed_labels.grid.same_as(fixed.grid) else resample(fixed_labels, fixed.grid, "nearest")
    ways: dict[str, Transform | DisplacementField] = {
        "before": DisplacementField.identity(fixed.grid),
        "initial": result.initial,
        "after": result.field,
    }
    warped = {when: warp(moving_labels, way, fixed.grid, "nearest") for when, way in ways.items()}
    scores = {when: dsc(there.data, image.data) for when, image in warped.items()}
    figures: dict[str, object] = {when: _by_label(values) for when, values in scores.items()}
    figures |= {f"mean_{when}": _mean(values) for when, values in scores.items()}
    surfaces = surface_distances(there.data, warped["after"].data, fixed.grid.spacing, sorted(scores["after"]))
    change = topology_change(warped["initial"].data, warped["after"].data)
    return {
        "dsc": figures,
        "hd95_mm": _by_label(surfaces.hd95),
        "assd_mm": _by_label(surfaces.assd),
        "topology_change": _rounded(change._asdict()),
    }


def _landmark_figures(result: Registration, fixed: Landmarks, moving: Landmarks) -> dict[str, object]:
    if len(fixed.points) != len(moving.points):
        raise ValueError(
            f"landmarks: expected as many in both files, got {len(fixed.points)} fixed and {len(moving.points)} moving"
        )
    identity = AffineTransform.identity(fixed.points.shape[1])
    ways = {"before": identity, "initial": result.initial, "after": result.transform}
    errors = {when: tre(fixed.points, moving.points, way) for when, way in ways.items()}
    return {when: _rounded({"mean": float(np.mean(e)), "max": float(np.max(e))}) for when, e in errors.items()}


def _described(image: Image) -> dict[str, object]:
    return {"size": list(image.grid.size), "spacing": [round(s, 6) for s in image.grid.spacing]}


def _mean(values: Mapping[int, float]) -> float | None:
    return _finite(float(np.mean(list(values.values())))) if values else None


def _by_label(values: Mapping[int, float]) -> dict[str, float | None]:
    return {str(label): _finite(value) for label, value in values.items()}


def _rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: float) -> float | None:
    """JSON has no NaN: what could not be measured is null."""
    return round(value, 5) if math.isfinite(value) else None
