"""`regcore series`: every frame of a series brought to one of them, and how it moved over time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from regcore import __version__
from regcore.checks import check_chain
from regcore.cli.choices import initial_of, settings_of
from regcore.cli.console import cancel_on_interrupt, following
from regcore.cli.method_options import add_method_options
from regcore.cli.wording import described
from regcore.image import Image
from regcore.io import VolumeSeries, as_labels, read_series, write_series, write_transform
from regcore.metrics.regularity import folding_percent
from regcore.motion import Motion, check_labels, motion_of
from regcore.motion_report import write_motion
from regcore.outputs import staged
from regcore.pipeline import Registration
from regcore.series import check_reference, register_series
from regcore.series_layout import SeriesLayout
from regcore.settings import Settings
from regcore.summary import Truth

HELP = "register every frame of a series to one of them"
_IN_PLANE = (
    "The slices do not lie in the x-y plane: the transforms are in mm along rows and columns from the first pixel."
)


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(
        description="Register every frame of SERIES to a reference frame; write a transform per frame, the warped "
        "series, and how it moved over time as table, JSON and page with curves."
    )
    made.add_argument("series", type=Path, help="image file whose last axis is time: slices or volumes")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder for the results; made if absent")
    made.add_argument("--reference", type=int, default=0, help="frame that stays, counted from 0")
    made.add_argument(
        "--labels",
        type=Path | None,
        default=None,
        help="label map of the reference frame, carried to all, or a series of which that frame is taken",
    )
    add_method_options(made, "; of a series: none")
    made.add_argument("-q", "--quiet", action="store_true", help="show nothing but errors")
    made.add_argument("-v", "--verbose", action="store_true", help="show every step")
    made.add_argument("--json", action="store_true", help="progress and result as JSON lines on standard output")
    return made


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    began = time.perf_counter()
    settings, notes = _settings(chosen)
    with staged(chosen.output) as folder, cancel_on_interrupt() as cancelled:
        layout = SeriesLayout.of(read_series(chosen.series, "series"))
        frames = layout.frames
        if chosen.slicewise is None and frames[0].dim == 2:
            # A preset for stacks of slices suits a series of single ones.
            settings = replace(settings, slicewise=None)
        check_chain(settings, frames[0].dim)
        check_reference(chosen.reference, len(frames))
        labels = None if chosen.labels is None else _labels(chosen.labels, chosen.reference, layout)
        _, kinds = initial_of(chosen.init, frames[0], Truth())
        settings = replace(settings, init=kinds or settings.init, inverse=labels is not None)
        with following(chosen.quiet, chosen.json, chosen.verbose) as progress:
            results = register_series(frames, chosen.reference, settings, progress=progress, cancelled=cancelled)
        motions = [motion_of(result, frames[0].grid, labels) for result in results]
        summary = {
            "version": __version__,
            "model": ", ".join(settings.networks) or "none",
            "weights": {file: digest for result in results for file, digest in result.weights.items()} or None,
            "device": results[0].device,
            "reference": chosen.reference,
            "seconds": round(time.perf_counter() - began, 3),
            "series": _series(chosen.series, layout),
            "labels": None if chosen.labels is None else chosen.labels.name,
            "warnings": [*notes, *([] if layout.in_space else [_IN_PLANE]), *_warnings(results)],
            "frames": [_row(*each) for each in zip(range(len(frames)), results, motions, strict=True)],
        }
        _write(folder, layout, results, motions)
        write_motion(folder, summary, results)
    if chosen.json:
        sys.stdout.write(json.dumps({"result": str(chosen.output), **summary}) + "\n")
    elif not chosen.quiet:
        sys.stdout.write(_text(motions) + f"\nReport: {chosen.output / 'report.html'}\n")


def _settings(chosen: Namespace) -> tuple[Settings, list[str]]:
    if chosen.refine is not None and chosen.refine < 0:
        raise ValueError(f"refine: expected 0 or more iterations, got {chosen.refine}")
    if chosen.init.startswith("landmarks") or Path(chosen.init).is_file():
        raise ValueError(f"init: a series starts from none, centre, moments, rigid or affine, not from {chosen.init}")
    return settings_of(chosen)


def _labels(path: Path, reference: int, layout: SeriesLayout) -> Image:
    several, count = layout.several(read_series(path, "labels")), len(layout.frames)
    if len(several) not in (1, count):
        raise ValueError(f"labels: expected one label map or a series of {count} frames, got {len(several)}")
    labels = as_labels(several[reference if len(several) > 1 else 0], path.name)
    check_labels(labels, layout.grid)
    return layout.frame(labels)


def _series(path: Path, layout: SeriesLayout) -> dict[str, object]:
    """Return what the summary says of the series' file."""
    if not isinstance(layout.stored, VolumeSeries):
        return described(path, layout.stored)
    step = round(layout.stored.step, 6)
    return {
        "file": path.name,
        "size": [*layout.grid.size, len(layout.frames)],
        "spacing": [*(round(edge, 6) for edge in layout.grid.spacing), step],
    }


def _row(number: int, result: Registration, motion: Motion) -> dict[str, object]:
    figures = motion.figures
    labels = figures.pop("labels")
    similarity = {f"similarity_{when}": round(value, 4) for when, value in result.similarity.items()}
    folding = folding_percent(result.determinant.data)
    name = result.similarity_name
    return {"frame": number, **figures, "folding_percent": folding, "similarity": name, **similarity, "labels": labels}


def _warnings(results: Sequence[Registration]) -> list[str]:
    """Return each sentence once, with the frames it was said of."""
    said: dict[str, list[str]] = {}
    for number, result in enumerate(results):
        for sentence in result.warnings:
            said.setdefault(sentence, []).append(str(number))
    return [f"Frame{'s'[: len(of) > 1]} {', '.join(of)}: {sentence}" for sentence, of in said.items()]


def _write(folder: Path, layout: SeriesLayout, results: Sequence[Registration], motions: Sequence[Motion]) -> None:
    digits = max(3, len(str(len(results) - 1)))
    for number, result in enumerate(results):
        write_transform(layout.transform(result.transform), folder / f"frame_{number:0{digits}}.h5")
    write_series(layout.together([result.warped for result in results]), folder / "warped.nii.gz")
    carried = [motion.carried for motion in motions if motion.carried is not None]
    if carried:
        write_series(layout.together(carried), folder / "carried_labels.nii.gz")


def _text(motions: Sequence[Motion]) -> str:
    """The figures that matter as a small text table."""
    lines = [
        f"{'frame':>5}{'mean (mm)':>12}{'largest (mm)':>14}"
        + "".join(f"{f'label {n} (%)':>14}" for n in motions[0].labels)
    ]
    for number, motion in enumerate(motions):
        changes = "".join(f"{label.change_percent:>+14.1f}" for label in motion.labels.values())
        lines.append(f"{number:>5}{motion.mean_mm:>12.2f}{motion.max_mm:>14.2f}{changes}")
    return "\n".join(lines)
