"""The files that say how a series moves: motion.csv, motion.json and report.html with its curves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regcore.atomic import replacing
from regcore.cohort.boxes import ticks
from regcore.page import write_page
from regcore.pipeline import Registration
from regcore.png import DIVERGING
from regcore.report_pictures import FOLDING, draw

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560.0, 240.0, 48.0, 12.0, 10.0, 40.0
_COLOURS = ("#0f766e", "#b45309", "#2166ac", "#b2182b", "#6d28d9", "#4d7c0f", "#8b98a5")
_MOST_TICKS = 12


@dataclass(frozen=True)
class Curve:
    """One figure over the frames; places on the drawing.

    Attributes:
        name: for people.
        colour: ``#rrggbb``.
        points: x, y and the value itself, frame by frame.
    """

    name: str
    colour: str
    points: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Plot:
    """Curves over the frames of a series.

    Attributes:
        title: what is measured, with its unit.
        curves: in the order of their names below.
        across: place and label of the ticks of the frames.
        up: place and label of the ticks of the values.
    """

    title: str
    curves: list[Curve]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]


def write_motion(folder: Path, summary: Mapping[str, Any], results: Sequence[Registration]) -> None:
    """Write the files into ``folder``.

    Args:
        folder: where to; it must exist.
        summary: what motion.json holds; its ``frames`` are the rows of motion.csv.
        results: of the frames, in their order: the one that moved most is shown.

    Raises:
        ValueError: a file cannot be written.
    """
    frames = summary["frames"]
    _write(folder / "motion.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    _write(folder / "motion.csv", _table(frames))
    most = max(range(len(frames)), key=lambda number: float(frames[number]["mean_mm"]))
    shown = results[most]
    fixed = results[summary["reference"]].before
    write_page(
        folder / "report.html",
        "motion.html",
        summary=summary,
        plots=_plots(frames),
        size=(_WIDTH, _HEIGHT, _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM),
        most=most,
        planes=list(draw(fixed, shown.before, shown.warped, shown.determinant, shown.field)),
        colours=", ".join(DIVERGING),
        folding_colour=FOLDING,
        head=list(_cells(frames[0])),
        rows=[_cells(frame).values() for frame in frames],
    )


def _plots(frames: Sequence[Mapping[str, Any]]) -> list[Plot]:
    names = list(frames[0]["labels"])
    plots = [
        _plot(
            "Displacement (mm)",
            {
                "mean": [frame["mean_mm"] for frame in frames],
                "largest": [frame["max_mm"] for frame in frames],
                **{f"mean in label {name}": [frame["labels"][name]["mean_mm"] for frame in frames] for name in names},
            },
        )
    ]
    if names:
        size = next(iter(frames[0]["labels"][names[0]])).split("_")[0].capitalize()
        changes = {f"label {name}": [frame["labels"][name]["change_percent"] for frame in frames] for name in names}
        plots.append(_plot(f"{size} against the reference (%)", changes, _COLOURS[2:]))  # as labels have above
    return plots


def _plot(title: str, values: Mapping[str, list[float]], colours: Sequence[str] = _COLOURS) -> Plot:
    everything = [value for curve in values.values() for value in curve]
    steps, number = ticks(min(everything), max(everything)), len(next(iter(values.values())))

    def x(frame: int) -> float:
        return round(_LEFT + frame / (number - 1) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        share = (value - steps[0]) / (steps[-1] - steps[0])
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    curves = [
        Curve(name, colours[n % len(colours)], [(x(f), y(value), f"{value:.3g}") for f, value in enumerate(curve)])
        for n, (name, curve) in enumerate(values.items())
    ]
    across = [(x(frame), str(frame)) for frame in range(0, number, -(-number // _MOST_TICKS))]
    return Plot(title, curves, across, [(y(step), f"{step:.4g}") for step in steps])


def _table(frames: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_cells(frames[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_cells, frames))
    return text.getvalue()


def _cells(frame: Mapping[str, Any]) -> dict[str, object]:
    """Return a frame's figures in one line, those of labels as ``label_1_area_mm2``."""
    plain = {name: value for name, value in frame.items() if name != "labels"}
    labels = frame["labels"].items()
    return plain | {f"label_{number}_{name}": value for number, of in labels for name, value in of.items()}


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
