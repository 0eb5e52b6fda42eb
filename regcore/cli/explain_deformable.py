"""`regcore explain` for a deformable network: where each image counts for the displacement, as volumes and a page."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from jsonargparse import Namespace

from regcore import __version__
from regcore.affine import InitialKind
from regcore.checks import check_inputs, check_model, check_overlap, choose_device
from regcore.cli.console import cancel_on_interrupt, following
from regcore.cli.wording import described, whole_numbers
from regcore.deformable_explanation import DRAWS, SIGMA, DeformableExplanation, Side, explain_deformable
from regcore.grid import Matrix
from regcore.image import Image
from regcore.io import read_image, read_labels, read_transform, write_image
from regcore.models import RegistrationModel
from regcore.network_grid import MOST_VOXELS, NetworkGrid, network_grid
from regcore.outputs import staged
from regcore.preprocess import Inputs, gland_of
from regcore.progress import CancelCheck, Progress
from regcore.sensitivity import Report
from regcore.sensitivity_report import write_sensitivity
from regcore.stages import Stages
from regcore.start import StartKind, bring_together, needs_overlap
from regcore.transform import AffineTransform, Transform
from regcore.weights import Trained, load_trained

_ALL = (
    "A map holds, for each voxel, how far the displacement of all voxels together (the root of the sum of squares, in "
    "mm) moves when the image changes there alone, estimated from random signs; 1 of intensity is the image's range."
)
_ONE = (
    "A map holds, for each voxel, how far the displacement of the chosen voxel (mm) moves when the image changes there "
    "alone; 1 of intensity is the image's range."
)
_SIDES: tuple[Side, ...] = ("fixed", "moving")


@dataclass(frozen=True)
class _Asked:
    """What is explained: the pair as read, the structures of interest in it, and the place whose displacement counts.

    ``values`` are the labels that make up the structures; None: all above 0, or none were given.
    """

    inputs: Inputs
    values: list[int] | None
    voxel: list[int] | None
    point: Matrix | None


@dataclass(frozen=True)
class _Found:
    """The maps, and how they came about: the weights, the network's grid, the start's name, a note on the images."""

    maps: DeformableExplanation
    trained: Trained
    seen_on: NetworkGrid
    start: str
    note: str | None


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    with staged(chosen.output) as folder, cancel_on_interrupt() as cancelled:
        asked = _asked(chosen)
        with following(chosen.quiet, as_json=False, verbose=False) as progress:
            found = _found(chosen, asked, progress, cancelled)
        summary = _summary(chosen, asked, found)
        for name, volume in found.maps.volumes(asked.inputs.fixed.grid, asked.inputs.moving.grid).items():
            write_image(volume, folder / f"{name}.nii.gz")
        text = json.dumps(summary, indent=2, allow_nan=False)
        (folder / "explain.json").write_text(text + "\n", encoding="utf-8")
        write_sensitivity(folder, summary, found.maps, asked.inputs, asked.point)
    if not chosen.quiet:
        sys.stdout.write(_table(found.maps) + f"\nReport: {chosen.output / 'explain.html'}\n")


def _asked(chosen: Namespace) -> _Asked:
    voxel = None if chosen.voxel is None else whole_numbers(chosen.voxel, "voxel", "30,32,24")
    values = None if chosen.gland_labels is None else whole_numbers(chosen.gland_labels, "gland-labels", "1,2")
    fixed, moving = read_image(chosen.fixed, "fixed"), read_image(chosen.moving, "moving")
    check_model(chosen.model, fixed.dim)
    region = None
    if chosen.fixed_labels is not None:
        region = read_labels(chosen.fixed_labels, "fixed-labels")
        region = region if values is None else gland_of(region, "fixed-labels", values)
    elif values is not None:
        raise ValueError("gland-labels: they name labels of --fixed-labels; pass both")
    inputs = Inputs(fixed, moving, fixed_gland=region)
    check_inputs(inputs)
    return _Asked(inputs, values, voxel, None if voxel is None else _point(voxel, fixed))


def _point(voxel: list[int], fixed: Image) -> Matrix:
    size = fixed.grid.size
    if len(voxel) != len(size) or not all(0 <= v < n for v, n in zip(voxel, size, strict=True)):
        letters, named = ("i,j,k", "i,j")[fixed.dim == 2], ",".join(map(str, voxel))
        raise ValueError(
            f"voxel: expected {letters} inside the fixed image of {'x'.join(map(str, size))} voxels, counted from 0, "
            f"got {named}"
        )
    return fixed.grid.to_world(voxel)


def _found(chosen: Namespace, asked: _Asked, progress: Progress, cancelled: CancelCheck) -> _Found:
    device = choose_device(chosen.device or "auto")
    inputs, note = asked.inputs.upright().with_seen_parts()
    seen_on = network_grid(chosen.model, inputs.fixed.grid, chosen.spacing, chosen.weights)
    torch.manual_seed(chosen.seed)
    trained = load_trained(chosen.model, chosen.weights, seen_on.dimensions)
    network = cast(RegistrationModel, trained.networks[0]).to(device)
    stages = Stages({"initial transform": 2.0, "network": 8.0}, progress, cancelled)
    with stages.stage("initial transform") as report:
        start, name = _start(chosen.init, inputs, report, stages)
    with stages.stage("network") as report:
        maps = explain_deformable(
            network, inputs, start, seen_on, point=asked.point, draws=chosen.draws, seed=chosen.seed, report=report
        )
    return _Found(maps, trained, seen_on, name, note)


def _start(text: str | None, inputs: Inputs, report: Report, stages: Stages) -> tuple[Transform, str]:
    """Return what the network goes on from, fixed to moving points, and its name."""
    if text is not None and Path(text).is_file():
        return read_transform(text, inputs.fixed.grid, "init"), Path(text).name
    words = ("affine",) if text is None else text.split(",")
    for word in words:
        if word not in get_args(InitialKind):
            known = ", ".join(get_args(InitialKind))
            raise ValueError(f"init: expected {known} or a transform file, got {Path(word).name}")
    kinds = cast(tuple[StartKind, ...], tuple(words))
    if needs_overlap(kinds, None):
        check_overlap(inputs)
    return bring_together(inputs, kinds, None, report, stages.asked_to_stop)[0], ",".join(kinds)


def _summary(chosen: Namespace, asked: _Asked, found: _Found) -> dict[str, object]:
    """Return the content of explain.json."""
    maps, trained, inputs = found.maps, found.trained, asked.inputs
    in_labels = None
    if maps.region is not None:
        in_labels = {side: maps.share_in_region(side) for side in _SIDES} | {"even": maps.region_share}
    linear = isinstance(maps.start, AffineTransform)
    draws = DRAWS[inputs.fixed.dim] if chosen.draws is None else chosen.draws
    return {
        "version": __version__,
        "model": chosen.model,
        "network": trained.name,
        "weights": dict(trained.files) or None,
        "target": "all" if asked.voxel is None else "voxel",
        "target_note": _ALL if asked.voxel is None else _ONE,
        "voxel": asked.voxel,
        "draws": draws if asked.voxel is None else None,
        "seed": chosen.seed,
        "smoothing_voxels": SIGMA,
        "start": found.start,
        "transform": cast(AffineTransform, maps.start).homogeneous.tolist() if linear else None,
        "grid": {
            "size": list(maps.grid.size),
            "spacing": [round(s, 6) for s in maps.grid.spacing],
            "most_voxels": MOST_VOXELS,
        },
        "slicewise": found.seen_on.stack is not None,
        "displacement_mm": {
            "mean": float(maps.length.data.mean()),
            "max": float(maps.length.data.max()),
            "at_voxel": None if asked.point is None else maps.length_at(asked.point),
        },
        "share_of_image": {side: maps.share_of(side) for side in _SIDES},
        "strongest": {side: _strongest(maps, side, inputs.fixed) for side in _SIDES},
        "in_labels": in_labels,
        "labels": asked.values,
        "warnings": _warnings(found),
        "fixed": described(chosen.fixed, inputs.fixed),
        "moving": described(chosen.moving, inputs.moving),
    }


def _strongest(maps: DeformableExplanation, side: Side, fixed: Image) -> dict[str, object] | None:
    """Return where a map is strongest, in the fixed image, and how strong it is; None for an empty map."""
    place = maps.strongest(side)
    if place is None:
        return None
    index = np.clip(np.rint(fixed.grid.to_index(place)), 0, np.asarray(fixed.grid.size) - 1)
    return {
        "voxel": [int(n) for n in index],
        "mm": [round(float(x), 3) for x in place],
        "value": float(maps.of(side).data.max()),
    }


def _warnings(found: _Found) -> list[str]:
    """Return what a reader of the maps should know."""
    maps, seen_on = found.maps, found.seen_on
    said = [sentence for sentence in (found.trained.warning, found.note) if sentence]
    said += [
        f"The map of the {side} image is empty: no change of it would change the displacement."
        for side in _SIDES
        if maps.strongest(side) is None
    ]
    if seen_on.usual_mm is not None:
        said.append(
            f"The network saw voxels of {min(seen_on.steps):.2g} mm, not of {seen_on.usual_mm:.2g} mm as in a "
            "registration, because slopes need much memory; --spacing sets another size."
        )
    return said


def _table(maps: DeformableExplanation) -> str:
    rows = [("displacement (mean)", f"{float(maps.length.data.mean()):.3g} mm")]
    for side in _SIDES:
        share = maps.share_of(side)
        rows.append((f"{side} image counts", "empty" if share is None else f"{100 * share:.0f} %"))
        if maps.region is not None:
            inside = maps.share_in_region(side)
            rows.append((f"{side} map in labels", "empty" if inside is None else f"{100 * inside:.0f} %"))
    if maps.region_share is not None:
        rows.append(("an even map", f"{100 * maps.region_share:.0f} %"))
    return "\n".join(f"{name:24}{value:>16}" for name, value in rows)
