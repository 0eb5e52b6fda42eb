"""What of the page needs training, by which command, and how long that took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from page_parts import as_markdown, read
from plan import runs

_ABOUT = """## Trainings

Every figure of the ablations, and the weights that the other figures are measured with, come from these trainings:
`make papers-train` runs all that are missing, `make papers-train PARTS="--only EXPERIMENT"` those of one line. They are
no part of `make papers`. One processor core each, of a computer that had other work too: wall time says more of that
than of the networks. The command of each is in `papers/EXPERIMENT.json`.
"""


def section(figures: Path) -> str:
    """Return the section as markdown.

    Args:
        figures: the folder of the JSON files.
    """
    planned: dict[str, int] = {}
    for run in runs():
        planned[run.experiment] = planned.get(run.experiment, 0) + 1
    table = [["experiment", "trained", "planned", "steps each", "CPU hours", "wall hours", "date of the last"]]
    for experiment, number in planned.items():
        records = read(figures / f"{experiment}.json") or []
        table.append([experiment, str(len(records)), str(number), *(_told(records) if records else ["-"] * 4)])
    return f"{_ABOUT}\n{as_markdown(table)}\n"


def _told(records: Sequence[Mapping[str, Any]]) -> list[str]:
    steps = sorted({one["steps"] for one in records})
    between = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    hours = [f"{sum(one[key] for one in records) / 3600:.2f}" for key in ("cpu_seconds", "seconds")]
    return [between, *hours, max(one["date"] for one in records)]
