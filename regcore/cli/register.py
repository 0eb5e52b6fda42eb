"""`regcore register`: two image files in, a folder of results out."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from jsonargparse import ArgumentParser, Namespace

from regcore.cli.console import cancel_on_interrupt, following
from regcore.image import Image
from regcore.io import read_image, read_labels, read_transform
from regcore.landmarks import Landmarks, read_landmarks
from regcore.outputs import Targets, staged, write_registration, write_targets
from regcore.pipeline import Registration, register
from regcore.preprocess import Inputs, gland_of
from regcore.presets import list_presets, load_preset, with_preset
from regcore.procrustes import landmark_transform
from regcore.rigid_step import is_rigid
from regcore.settings import REFINE, Settings
from regcore.start import START_KINDS, StartKind
from regcore.summary import Truth, summarise
from regcore.transform import Transform

HELP = "register two images"


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(
        description="Register MOVING to FIXED and write transform, warped image, Jacobian and report."
    )
    made.add_argument("fixed", type=Path, help="image file or DICOM folder; the result lies on its grid")
    made.add_argument("moving", type=Path, help="image file or DICOM folder to bring onto it")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder for the results; made if absent")
    made.add_argument("--model", type=str, default="none", help="network, see `regcore models`; none: refinement alone")
    made.add_argument(
        "--stages",
        type=str | None,
        default=None,
        help="models and refine joined by commas, in the place of --model: each goes on from what those before found, "
        "as in attention-reg,caml,refine",
    )
    made.add_argument(
        "--preset",
        type=str | None,
        default=None,
        help=f"stages and start that suit a kind of pair: {', '.join(list_presets())}, or a JSON file of your own",
    )
    made.add_argument(
        "--slicewise",
        type=bool | None,
        default=None,
        help="true: slice by slice, nothing moving between slices; default: where the model is for 2D images and the "
        "slices are thick",
    )
    made.add_argument(
        "--init",
        type=str,
        default="auto",
        help="none, centre, moments, rigid, affine, landmarks, organ (the fixed gland's centre to the middle of the "
        "moving volume), labels (the glands' outlines) or a transform file; two joined by a comma go on from the "
        "first, as in centre,affine; auto: affine, or organ for a rigid model",
    )
    made.add_argument(
        "--refine", type=int | None, default=None, help="iterations on the pair itself; 0 switches it off"
    )
    made.add_argument(
        "--similarity",
        type=Literal["auto", "lncc", "mind", "mi"],
        default="auto",
        help="auto: by correlation; mi: for rigid models",
    )
    for side in ("fixed", "moving"):
        made.add_argument(
            f"--{side}-mask", type=Path | None, default=None, help=f"region of the {side} image that counts"
        )
        made.add_argument(f"--{side}-labels", type=Path | None, default=None, help="label map, for Dice and distances")
        made.add_argument(
            f"--{side}-landmarks",
            type=Path | None,
            default=None,
            help="points (CSV, FCSV, MRK.JSON), for TRE or --init",
        )
    made.add_argument("--gland-labels", type=str, default="1", help="labels that make up the gland, for rigid models")
    made.add_argument("--true-transform", type=Path | None, default=None, help="fixed to moving, for the surface error")
    made.add_argument("--targets", type=Path | None, default=None, help="points in the fixed image to carry to moving")
    made.add_argument(
        "--moving-targets", type=Path | None, default=None, help="points in the moving image to carry to fixed"
    )
    made.add_argument("--weights", type=Path | None, default=None, help="folder of weights from your own training")
    made.add_argument("--passes", type=int | None, default=None, help="of a rigid model; default: as trained")
    made.add_argument("--ensemble", type=int, default=8, help="runs of a rigid model, for its spread; 1: one run")
    made.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    made.add_argument("--seed", type=int, default=0, help="of the ensemble, and of networks without trained weights")
    made.add_argument("-q", "--quiet", action="store_true", help="show nothing but errors")
    made.add_argument("-v", "--verbose", action="store_true", help="show every step")
    made.add_argument("--json", action="store_true", help="progress and result as JSON lines on standard output")
    return made


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    if chosen.refine is not None and chosen.refine < 0:
        raise ValueError(f"refine: expected 0 or more iterations, got {chosen.refine}")
    settings, notes = _settings(chosen)
    with staged(chosen.output) as folder, cancel_on_interrupt() as cancelled:
        images = read_image(chosen.fixed, "fixed"), read_image(chosen.moving, "moving")
        truth = _truth(chosen, images[0], alone=_rigid(settings) or "organ" in (settings.init or chosen.init))
        start, kinds = _initial(chosen.init, images[0], truth)
        settings = replace(settings, init=kinds or settings.init)
        inputs = _inputs(chosen, *images, truth, settings)
        targets = [
            Targets(_landmarks(path, images[0], name), path.name, name == "targets")
            for name, path in (("targets", chosen.targets), ("moving-targets", chosen.moving_targets))
            if path is not None
        ]
        with following(chosen.quiet, chosen.json, chosen.verbose) as progress:
            result = register(inputs, settings, start=start, progress=progress, cancelled=cancelled)
            summary = _summary(result, inputs, settings, truth, chosen)
            summary["warnings"] = [
                *notes,
                *cast(list[str], summary["warnings"]),
                *write_targets(targets, result, inputs, folder),
            ]
            write_registration(result, inputs, summary, folder)
    if chosen.json:
        sys.stdout.write(json.dumps({"result": str(chosen.output), **summary}) + "\n")
    elif not chosen.quiet:
        sys.stdout.write(_table(summary) + f"\nReport: {chosen.output / 'report.html'}\n")


def _settings(chosen: Namespace) -> tuple[Settings, list[str]]:
    """Return what was chosen, a preset filling in what was not, and sentences about what it left out."""
    asked = Settings(
        chosen.model,
        None,
        chosen.refine,
        chosen.similarity,
        chosen.device,
        seed=chosen.seed,
        weights=chosen.weights,
        stages=None if chosen.stages is None else _chain(chosen.stages),
        passes=chosen.passes,
        ensemble=chosen.ensemble,
        slicewise=chosen.slicewise,
    )
    return (asked, []) if chosen.preset is None else with_preset(asked, load_preset(chosen.preset))


def _chain(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    return tuple(REFINE if name == "refinement" else name for name in names)


def _rigid(settings: Settings) -> bool:
    return any(is_rigid(name) for name in settings.networks)


def _truth(chosen: Namespace, fixed: Image, alone: bool) -> Truth:
    true = chosen.true_transform
    truth = Truth(
        _labels(chosen.fixed_labels, "fixed-labels"),
        _labels(chosen.moving_labels, "moving-labels"),
        _landmarks(chosen.fixed_landmarks, fixed, "fixed-landmarks") if chosen.fixed_landmarks else None,
        _landmarks(chosen.moving_landmarks, fixed, "moving-landmarks") if chosen.moving_landmarks else None,
        None if true is None else read_transform(true, fixed.grid, "true-transform"),
    )
    _check_truth(truth, fixed.dim, alone)
    return truth


def _inputs(chosen: Namespace, fixed: Image, moving: Image, truth: Truth, settings: Settings) -> Inputs:
    """Gather what is registered, the glands too where a rigid model or start asks for them."""
    values = _numbers(chosen.gland_labels)
    organs = {"organ", "labels"} & set(settings.init or ())
    asked = _rigid(settings) or truth.transform is not None or organs
    glands = [
        gland_of(labels, name, values) if asked and labels is not None else None
        for name, labels in (("fixed-labels", truth.fixed_labels), ("moving-labels", truth.moving_labels))
    ]
    masks = _labels(chosen.fixed_mask, "fixed-mask"), _labels(chosen.moving_mask, "moving-mask")
    return Inputs(fixed, moving, *masks, *glands)


def _summary(
    result: Registration, inputs: Inputs, settings: Settings, truth: Truth, chosen: Namespace
) -> dict[str, object]:
    summary = summarise(result, inputs, settings, truth)
    # A file's name, never its path: folders may carry a patient's name.
    for side, path in (("fixed", chosen.fixed), ("moving", chosen.moving)):
        cast(dict[str, object], summary[side])["file"] = path.name
    if chosen.init != "auto":
        cast(dict[str, object], summary["settings"])["init"] = Path(chosen.init).name
    return summary


def _initial(text: str, fixed: Image, truth: Truth) -> tuple[Transform | None, tuple[StartKind, ...] | None]:
    """Read ``--init``: a start known before, and the steps that go on from it; None: as suits the model."""
    if text == "auto":
        return None, None
    first, *rest = [text] if Path(text).is_file() else text.split(",")
    for kind in rest:
        if kind not in START_KINDS:
            raise ValueError(f"init: expected one of {', '.join(START_KINDS)} after the comma, got {kind}")
    kinds = cast(tuple[StartKind, ...], tuple(rest))
    if first in START_KINDS:
        return None, (first, *kinds)
    if first == "landmarks":
        if truth.fixed_landmarks is None or truth.moving_landmarks is None:
            raise ValueError("init: landmarks needs --fixed-landmarks and --moving-landmarks")
        return landmark_transform(truth.fixed_landmarks.points, truth.moving_landmarks.points), kinds or ("none",)
    if not Path(first).exists():
        words = ", ".join((*START_KINDS, "landmarks"))
        raise ValueError(f"init: expected {words} or a transform file, got {first}")
    return read_transform(first, fixed.grid, "init"), kinds or ("none",)


def _check_truth(truth: Truth, dim: int, alone: bool) -> None:
    """Refuse half of a pair; labels of the fixed image ``alone`` are enough to say where the gland is."""
    pairs = (
        ("labels", truth.fixed_labels, truth.moving_labels),
        ("landmarks", truth.fixed_landmarks, truth.moving_landmarks),
    )
    for name, fixed, moving in pairs:
        if alone and name == "labels" and moving is None:
            continue
        if (fixed is None) != (moving is None):
            raise ValueError(f"{name}: pass them for both images, or for neither")
    for name, labels in (("fixed-labels", truth.fixed_labels), ("moving-labels", truth.moving_labels)):
        if labels is not None and labels.dim != dim:
            raise ValueError(f"{name}: expected a {dim}D label map like the image, got {labels.dim}D")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"gland-labels: expected numbers joined by commas, as in 1,2, got {text}") from None


def _labels(path: Path | None, name: str) -> Image | None:
    return None if path is None else read_labels(path, name)


def _landmarks(path: Path, fixed: Image, name: str) -> Landmarks:
    landmarks = read_landmarks(path)
    if landmarks.points.shape[1] != fixed.dim:
        raise ValueError(f"{name}: expected {fixed.dim}D points like the image, got {landmarks.points.shape[1]}D")
    return landmarks


def _table(summary: dict[str, object]) -> str:
    """The figures that matter as a small text table."""
    rows = [("", "before", "after")]
    similarity = cast(dict[str, Any], summary["similarity"])
    rows.append((f"similarity ({similarity['name']})", _number(similarity["before"]), _number(similarity["after"])))
    if "dsc" in summary:
        overlap = cast(dict[str, float], summary["dsc"])
        rows.append(("Dice (mean)", _number(overlap["mean_before"]), _number(overlap["mean_after"])))
    if "sre_mm" in summary:
        surface = cast(dict[str, float], summary["sre_mm"])
        rows.append(("SRE (mm)", _number(surface["before"]), _number(surface["after"])))
    if summary.get("spread_mm") is not None:
        rows.append(("spread (mm)", "", _number(cast(float, summary["spread_mm"]))))
    if "tre_mm" in summary:
        errors = cast(dict[str, dict[str, float]], summary["tre_mm"])
        rows.append(("TRE (mm)", _number(errors["before"]["mean"]), _number(errors["after"]["mean"])))
    rows.append(("folding (%)", "", _number(cast(float, summary["folding_percent"]))))
    trip = cast(dict[str, float] | None, summary["round_trip_mm"])
    if trip is not None:
        rows.append(("round trip (mm)", "", _number(trip["mean"])))
    for stage in cast(list[dict[str, object]], summary["stages"]):
        rows.append((f"{stage['name']} (s)", "", f"{stage['seconds']:.1f}"))
    return "\n".join(f"{name:24}{before:>10}{after:>10}" for name, before, after in rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
