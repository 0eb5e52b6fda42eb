"""report.html: the figures and pictures of one registration in one file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from regcore.field import DisplacementField
from regcore.image import Image
from regcore.metrics.names import COLUMNS
from regcore.page import write_page
from regcore.png import DIVERGING
from regcore.report_pictures import FOLDING, draw

_Rows = list[tuple[str, ...]]
_UNKNOWN = "\N{EN DASH}"
_TIMES = " \N{MULTIPLICATION SIGN} "


def write_report(
    folder: str | Path,
    summary: Mapping[str, Any],
    fixed: Image,
    moving_before: Image,
    warped: Image,
    determinant: Image,
    field: DisplacementField,
) -> None:
    """Write ``report.html`` into ``folder``; every image is on the fixed grid.

    Args:
        folder: where to; it must exist.
        summary: the content of report.json; what is missing or null is not shown.
        fixed: the fixed image.
        moving_before: the moving image as it came.
        warped: the moving image through the result.
        determinant: Jacobian determinant of the result.
        field: displacement of the result.

    Raises:
        ValueError: the file cannot be written.
    """
    write_page(
        Path(folder) / "report.html",
        "report.html",
        title=_title(summary),
        summary=summary,
        weights=", ".join(f"{file} ({digest[:8]})" for file, digest in (summary.get("weights") or {}).items()),
        cards=_cards(summary),
        warnings=summary.get("warnings") or [],
        planes=list(draw(fixed, moving_before, warped, determinant, field)),
        colours=", ".join(DIVERGING),
        folding_colour=FOLDING,
        stages=_stages(summary),
        label_head=_label_head(summary),
        labels=_labels(summary),
        images=_images(summary),
        settings=[(name.replace("_", " "), _plain(value)) for name, value in (summary.get("settings") or {}).items()],
    )


def _title(summary: Mapping[str, Any]) -> str:
    files = [PurePath(str((summary.get(side) or {}).get("file") or "")).name for side in ("moving", "fixed")]
    return f"{files[0]} to {files[1]}" if all(files) else "Registration report"


def _cards(summary: Mapping[str, Any]) -> _Rows:
    """Return name, figure and a note for each of the figures that matter first."""
    dice, tre, similarity = (summary.get(key) or {} for key in ("dsc", "tre_mm", "similarity"))
    jacobian, trip = summary.get("jacobian") or {}, summary.get("round_trip_mm") or {}
    cards: _Rows = []
    if _known(dice.get("mean_after")):
        cards.append(("Mean Dice", _change(dice.get("mean_before"), dice["mean_after"], 3), "1 is full overlap"))
    surface = summary.get("sre_mm") or {}
    if _known(surface.get("after")):
        note = f"against the {surface.get('reference', 'true transform')}"
        if _known(surface.get("reference_error_mm")):
            note += f", itself ± {_number(surface['reference_error_mm'], 1)}"
        cards.append(("Surface error, mm", _change(surface.get("before"), surface["after"], 2), note))
    if _known(summary.get("spread_mm")):
        cards.append(("Spread, mm", _number(summary["spread_mm"], 2), "between runs from different starts"))
    if _known((tre.get("after") or {}).get("mean")):
        before, after = tre.get("before") or {}, tre["after"]
        note = f"largest {_number(after.get('max'), 2)} mm"
        cards.append(("Landmark error, mm", _change(before.get("mean"), after["mean"], 2), note))
    if _known(similarity.get("after")):
        name = f"Similarity ({str(similarity.get('name', '')).upper()})"
        cards.append(
            (
                name,
                _change(similarity.get("before"), similarity["after"], 3),
                "higher is more alike",
            )
        )
    for name, note in (("ssim", "structural similarity, 1 is the same"), ("uiqi", "image quality index, 1 is best")):
        quality = summary.get(name) or {}
        if _known(quality.get("after")):
            cards.append((name.upper(), _change(quality.get("before"), quality["after"], 3), note))
    if _known(summary.get("folding_percent")):
        note = f"Jacobian {_number(jacobian.get('min'), 2)} to {_number(jacobian.get('max'), 2)}" if jacobian else ""
        cards.append(("Folding", f"{_percent(summary['folding_percent'])} %", note))
    if _known(summary.get("sdlogj")):
        cards.append(("SDlogJ", _number(summary["sdlogj"], 3), "spread of local volume change"))
    topology = summary.get("topology_change") or {}
    if _known(topology.get("euler")):
        cards.append((COLUMNS["tc_euler"].title, _number(topology["euler"], 1), "change of topology, mean over labels"))
    if _known(trip.get("mean")):
        cards.append(("Round trip, mm", _number(trip["mean"], 3), f"largest {_number(trip.get('max'), 2)} mm"))
    if _known(summary.get("seconds")):
        note = f"on {summary['device']}" if summary.get("device") else ""
        if _known(summary.get("cpu_seconds")):
            note += f", {_number(summary['cpu_seconds'], 1)} CPU seconds"
        cards.append(("Time", f"{_number(summary['seconds'], 1)} s", note.removeprefix(", ")))
    return cards


def _stages(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    stages = summary.get("stages") or []
    longest = max((float(stage["seconds"]) for stage in stages), default=0.0) or 1.0
    return [
        {
            "name": stage["name"],
            "seconds": _number(stage["seconds"], 2),
            "percent": round(100 * stage["seconds"] / longest, 1),
        }
        for stage in stages
    ]


_COLUMNS = (
    ("Dice before", ("dsc", "before"), 3),
    ("Dice initial", ("dsc", "initial"), 3),
    ("Dice after", ("dsc", "after"), 3),
    ("HD95, mm", ("hd95_mm",), 2),
    ("ASSD, mm", ("assd_mm",), 2),
)


def _label_columns(summary: Mapping[str, Any]) -> list[tuple[str, dict[str, Any], int]]:
    columns = []
    for name, path, digits in _COLUMNS:
        values: Any = summary
        for key in path:
            values = (values or {}).get(key)
        if values:
            columns.append((name, {str(label): value for label, value in values.items()}, digits))
    return columns


def _label_head(summary: Mapping[str, Any]) -> list[str]:
    columns = _label_columns(summary)
    return ["Label", *(name for name, _, _ in columns)] if columns else []


def _labels(summary: Mapping[str, Any]) -> _Rows:
    columns = _label_columns(summary)
    labels = dict.fromkeys(label for _, values, _ in columns for label in values)
    return [(label, *(_number(values.get(label), digits) for _, values, digits in columns)) for label in labels]


def _images(summary: Mapping[str, Any]) -> _Rows:
    rows: _Rows = []
    for side in ("fixed", "moving"):
        image = summary.get(side) or {}
        size = _TIMES.join(str(n) for n in image.get("size", []))
        spacing = _TIMES.join(f"{s:.4g}" for s in image.get("spacing", []))
        if image:
            # The name alone: folders often hold what identifies a patient.
            name = PurePath(str(image["file"])).name if image.get("file") else _UNKNOWN
            rows.append((side.capitalize(), name, size or _UNKNOWN, spacing or _UNKNOWN))
    return rows


def _known(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if _known(value) else _UNKNOWN


def _percent(value: float) -> str:
    """Never round folding that is there to none."""
    return "0" if value == 0 else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _change(before: Any, after: Any, digits: int) -> str:
    return f"{_number(before, digits)} → {_number(after, digits)}" if _known(before) else _number(after, digits)


def _plain(value: Any) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value) or _UNKNOWN
    return str(value)
