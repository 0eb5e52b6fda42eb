"""summary.json: what a cohort's figures come to, which pairs failed and why, and how another run compares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regcore import __version__
from regcore.atomic import replacing
from regcore.cohort.figures import FIGURES, OF_LABELS, Row, by_label, by_pair, outcomes
from regcore.cohort.statistics import compare, describe
from regcore.settings import Settings

_DIGITS = 6


@dataclass(frozen=True)
class Run:
    """One method's figures on a cohort.

    Attributes:
        name: for people.
        rows: of its metrics.csv.
    """

    name: str
    rows: Sequence[Row]


def summary_of(
    run: Run,
    failures: Mapping[str, str],
    warnings: Mapping[str, Sequence[str]],
    settings: Mapping[str, object],
    other: Run | None = None,
) -> dict[str, Any]:
    """Return what the cohort comes to, as plain numbers, strings and lists.

    Args:
        run: the figures.
        failures: pair -> the sentence that says why it failed.
        warnings: pair -> sentences to read before its result is used.
        settings: what the pairs were registered with, see `described_settings`.
        other: a second run to compare with, on the pairs that both have.
    """
    done = len({row["pair"] for row in run.rows})
    summary: dict[str, Any] = {
        "version": __version__,
        "name": run.name,
        "pairs": done + len(failures),
        "done": done,
        "settings": dict(settings),
        "metrics": _described({title: by_pair(run.rows, title) for title in FIGURES}),
        "labels": _labels(run.rows),
        "failures": dict(failures),
        "warnings": _by_sentence(warnings),
    }
    if other is not None:
        found = {title: compare(by_pair(run.rows, title), by_pair(other.rows, title)) for title in outcomes()}
        metrics = {title: _rounded(asdict(comparison)) for title, comparison in found.items() if comparison.number}
        summary["comparison"] = {"with": other.name, "test": "Wilcoxon signed-rank, two-sided", "metrics": metrics}
    return summary


def described_settings(settings: Settings, init: str) -> dict[str, object]:
    """Return the settings as they were chosen, of files and folders the name alone: a path may name a patient."""
    return asdict(settings) | {
        "stages": list(settings.chain),
        "init": list(settings.init) if settings.init else Path(init).name,
        "weights": settings.weights.name if settings.weights is not None else None,
    }


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        ValueError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _by_sentence(warnings: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Turn pair -> sentences into sentence -> pairs: often many pairs have the same."""
    found: dict[str, list[str]] = {}
    for pair, sentences in warnings.items():
        for sentence in sentences:
            found.setdefault(sentence, []).append(pair)
    return found


def _labels(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    columns = {title: by_label(rows, title) for title in OF_LABELS}
    labels = list(columns[OF_LABELS[0]])
    return {label: _described({title: column[label] for title, column in columns.items()}) for label in labels}


def _described(series: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    return {title: _rounded(describe(list(values.values()))) for title, values in series.items() if values}


def _rounded(values: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    """Round to significant digits: a small p must not become 0."""
    return {key: float(f"{v:.{_DIGITS}g}") if isinstance(v, float) else v for key, v in values.items()}
