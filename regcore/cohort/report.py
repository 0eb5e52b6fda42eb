"""report.html of a cohort: its figures as tables and box plots, beside another run's, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regcore.cohort.boxes import NAMES, TOP, WIDTH, Chart, Series, chart
from regcore.cohort.figures import OF_LABELS, by_label, by_pair, higher_is_better, outcomes, start_of
from regcore.cohort.results import Run
from regcore.page import write_page

_UNKNOWN = "\N{EN DASH}"
_MOST_LABELS = 40


def write_cohort_report(path: Path, summary: Mapping[str, Any], run: Run, other: Run | None = None) -> None:
    """Write the page.

    Args:
        path: file to write.
        summary: of `regcore.cohort.results.summary_of`.
        run: the figures.
        other: a second run to draw beside it.

    Raises:
        ValueError: the file cannot be written.
    """
    write_page(
        path,
        "evaluate.html",
        summary=summary,
        charts=_charts(run, other),
        label_charts=_label_charts(run, other),
        metrics=[(title, *_cells(found)) for title, found in summary["metrics"].items()],
        comparison=_comparison(summary.get("comparison")),
        other=other.name if other else None,
        settings=[(name.replace("_", " "), _plain(value)) for name, value in summary["settings"].items()],
        width=WIDTH,
        names=NAMES,
        top=TOP,
    )


def _charts(run: Run, other: Run | None) -> list[Chart]:
    charts = []
    for title in outcomes():
        values = by_pair(run.rows, title)
        if not values:
            continue
        before = start_of(title)
        series = [Series("before", "before", list(by_pair(run.rows, before).values()))] if before else []
        series.append(Series(run.name, "run", list(values.values())))
        if other is not None:
            series.append(Series(other.name, "other", list(by_pair(other.rows, title).values())))
        mean = "mean over the labels of each pair; " if title in OF_LABELS else ""
        charts.append(chart(title, f"{mean}{_better(title)}", series))
    return charts


def _label_charts(run: Run, other: Run | None) -> list[Chart]:
    """Return a chart of every figure of labels, where there is more than one label."""
    charts = []
    for title in set(outcomes()).intersection(OF_LABELS):
        mine, theirs = by_label(run.rows, title), by_label(other.rows, title) if other else {}
        series = []
        for label, values in list(mine.items())[:_MOST_LABELS]:
            series.append(Series(f"label {label}", "run", list(values.values())))
            series.append(Series(f"label {label}", "other", list(theirs.get(label, {}).values())))
        if len(mine) > 1 and any(one.values for one in series):
            left_out = f"; the first {_MOST_LABELS} labels of {len(mine)}" if len(mine) > _MOST_LABELS else ""
            charts.append(chart(f"{title} by label", _better(title) + left_out, series))
    return sorted(charts, key=lambda one: outcomes().index(one.title.removesuffix(" by label")))


def _better(title: str) -> str:
    return f"{'higher' if higher_is_better(title) else 'lower'} is better"


def _cells(found: Mapping[str, float | None]) -> tuple[str, ...]:
    return (*(_number(found[key]) for key in ("mean", "sd", "median")), str(found["number"]))


def _comparison(comparison: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    """Return metric, number of pairs, median difference and p; no p where there are too few pairs."""
    if comparison is None:
        return []
    return [
        (title, str(found["number"]), _number(found["median_difference"]), _probability(found["p"]))
        for title, found in comparison["metrics"].items()
    ]


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.4g}"


def _probability(p: float | None) -> str:
    return _UNKNOWN if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _plain(value: object) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value) or _UNKNOWN
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
