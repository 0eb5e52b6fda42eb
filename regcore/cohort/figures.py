"""metrics.csv: one row for each pair and label, and what can be read off it, from this run's or another's."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from regcore.atomic import replacing
from regcore.metrics.names import COLUMNS

Row = Mapping[str, str | float | None]

PAIR, LABEL, SECONDS = "pair", "label", "seconds"
_BEFORE = " before"


def _titles(*keys: str) -> tuple[str, ...]:
    """Return the columns of these metrics; ``dsc.before`` is the figure before registration."""
    split = [key.partition(".") for key in keys]
    return tuple(COLUMNS[key].title + (_BEFORE if when else "") for key, _, when in split)


# Figures of each label, and figures of the whole pair, which every row of the pair repeats.
OF_LABELS = _titles("dsc.before", "dsc", "hd95", "assd")
OF_PAIRS = (*_titles("tre.before", "tre", "sre.before", "sre", "folding_percent", "sdlogj"), SECONDS)
FIGURES = (*OF_LABELS, *OF_PAIRS)


def start_of(title: str) -> str | None:
    """Return the column with a figure before registration, None where there is none."""
    return title + _BEFORE if title + _BEFORE in FIGURES else None


def outcomes() -> tuple[str, ...]:
    """Return the columns of the figures after registration."""
    return tuple(title for title in FIGURES if not title.endswith(_BEFORE))


def higher_is_better(title: str) -> bool:
    """Whether more of it is better."""
    return any(column.higher_is_better for column in COLUMNS.values() if column.title == title)


def rows_of(pair: str, report: Mapping[str, Any]) -> list[Row]:
    """Return a pair's rows from its report: one for each label, or one without."""
    dice, tre, sre = (report.get(key) or {} for key in ("dsc", "tre_mm", "sre_mm"))
    whole = (
        (tre.get("before") or {}).get("mean"),
        (tre.get("after") or {}).get("mean"),
        sre.get("before"),
        sre.get("after"),
        report["folding_percent"],
        report["sdlogj"],
        report["seconds"],
    )
    columns = [dice.get("before"), dice.get("after"), report.get("hd95_mm"), report.get("assd_mm")]
    labels = sorted({label for column in columns for label in column or ()}, key=int)
    return [
        {
            PAIR: pair,
            LABEL: label,
            **dict(zip(OF_LABELS, ((column or {}).get(label) for column in columns), strict=True)),
            **dict(zip(OF_PAIRS, whole, strict=True)),
        }
        for label in labels or [""]
    ]


def write_metrics(rows: Sequence[Row], path: Path) -> None:
    """Write the table; what is not known is left empty.

    Raises:
        ValueError: the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [PAIR, LABEL, *FIGURES], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_metrics(path: Path, name: str = "compare") -> list[Row]:
    """Read the table of another run.

    Args:
        path: the file.
        name: what to call it in messages.

    Raises:
        ValueError: there is none, or it is not such a table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = csv.DictReader(file)
            if found.fieldnames != [PAIR, LABEL, *FIGURES]:
                raise ValueError("other columns")
            return [{key: _cell(key, text) for key, text in row.items()} for row in found]
    except OSError as error:
        where = f"{path.name} in {path.parent.name}"
        raise ValueError(f"{name}: there is no {where}; pass the output folder of regcore evaluate") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{name}: {path.name} is not as regcore evaluate writes it; run that again") from error


def by_pair(rows: Sequence[Row], title: str) -> dict[str, float]:
    """Return pair -> figure; of the figures of labels the mean over those that are known."""
    found: dict[str, list[float]] = {}
    for row in rows:
        value = row[title]
        if isinstance(value, float | int) and math.isfinite(value):
            found.setdefault(str(row[PAIR]), []).append(float(value))
    return {pair: fmean(values) if title in OF_LABELS else values[0] for pair, values in found.items()}


def by_label(rows: Sequence[Row], title: str) -> dict[str, dict[str, float]]:
    """Return label -> pair -> figure, the labels in order of their numbers."""
    labels = sorted({str(row[LABEL]) for row in rows if row[LABEL] != ""}, key=int)
    return {label: by_pair([row for row in rows if row[LABEL] == label], title) for label in labels}


def _cell(key: str, text: str) -> str | float | None:
    if key in (PAIR, LABEL):
        return text
    return float(text) if text else None
