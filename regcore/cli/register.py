"""`regcore register`: two image files in, a folder of results out."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from jsonargparse import ArgumentParser, Namespace

from regcore.checks import check_chain
from regcore.cli.choices import has_rigid, initial_of, inputs_of, landmarks_of, settings_of, truth_of
from regcore.cli.console import cancel_on_interrupt, following
from regcore.cli.method_options import add_method_options
from regcore.io import read_image
from regcore.outputs import Targets, staged, write_registration, write_targets
from regcore.pipeline import Registration, register
from regcore.preprocess import Inputs
from regcore.settings import Settings
from regcore.summary import Truth, summarise

HELP = "register two images"


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(
        description="Register MOVING to FIXED and write transform, warped image, Jacobian and report."
    )
    made.add_argument("fixed", type=Path, help="image file or DICOM folder; the result lies on its grid")
    made.add_argument("moving", type=Path, help="image file or DICOM folder to bring onto it")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder for the results; made if absent")
    add_method_options(made)
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
    made.add_argument("--true-transform", type=Path | None, default=None, help="fixed to moving, for the surface error")
    made.add_argument("--targets", type=Path | None, default=None, help="points in the fixed image to carry to moving")
    made.add_argument(
        "--moving-targets", type=Path | None, default=None, help="points in the moving image to carry to fixed"
    )
    made.add_argument("-q", "--quiet", action="store_true", help="show nothing but errors")
    made.add_argument("-v", "--verbose", action="store_true", help="show every step")
    made.add_argument("--json", action="store_true", help="progress and result as JSON lines on standard output")
    return made


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    if chosen.refine is not None and chosen.refine < 0:
        raise ValueError(f"refine: expected 0 or more iterations, got {chosen.refine}")
    settings, notes = settings_of(chosen)
    with staged(chosen.output) as folder, cancel_on_interrupt() as cancelled:
        images = read_image(chosen.fixed, "fixed"), read_image(chosen.moving, "moving")
        check_chain(settings, images[0].dim)
        truth = truth_of(chosen, images[0], alone=has_rigid(settings) or "organ" in (settings.init or chosen.init))
        start, kinds = initial_of(chosen.init, images[0], truth)
        settings = replace(settings, init=kinds or settings.init)
        inputs = inputs_of(chosen, *images, truth, settings)
        targets = [
            Targets(landmarks_of(path, images[0], name), path.name, name == "targets")
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
