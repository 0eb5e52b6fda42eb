"""The results as a table, in plain text or markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

Row = Mapping[str, float]

COLUMNS = {
    "dice": ("Dice", "{:.4f}"),
    "hd95_mm": ("HD95 mm", "{:.2f}"),
    "folding_percent": ("folding %", "{:.5f}"),
    "sdlogj": ("SDlogJ", "{:.3f}"),
    "wall_s": ("wall s", "{:.1f}"),
    "cpu_s": ("CPU s", "{:.1f}"),
    "peak_mib": ("peak MiB", "{:.0f}"),
    "cpu_ratio": ("CPU / greedy", "{:.2f}"),
    "dice_gain": ("Dice - greedy", "{:+.4f}"),
}


def medians(runs: Sequence[Row]) -> dict[str, float]:
    """Return the median of each figure over the runs of one method."""
    return {key: median(run[key] for run in runs) for key in runs[0]}


def compare(rows: Mapping[str, dict[str, float]], reference: str = "greedy") -> None:
    """Add to each row its cost and overlap relative to the reference's, where that was run."""
    if reference not in rows:
        return
    for row in rows.values():
        row["cpu_ratio"] = row["cpu_s"] / rows[reference]["cpu_s"]
        row["dice_gain"] = row["dice"] - rows[reference]["dice"]


def cells(titles: Mapping[str, str], rows: Mapping[str, Row]) -> list[list[str]]:
    """Return the table as rows of text, the heading first."""
    heading = ["method", *(name for name, _ in COLUMNS.values())]
    lines = [
        [titles[method], *(form.format(row[key]) if key in row else "-" for key, (_, form) in COLUMNS.items())]
        for method, row in rows.items()
    ]
    return [heading, *lines]


def as_text(table: Sequence[Sequence[str]]) -> str:
    """Return aligned columns, figures to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in table
    )


def as_markdown(table: Sequence[Sequence[str]], *, figures: bool = True) -> str:
    """Return a markdown table.

    Args:
        table: its rows, the first one the heading.
        figures: all columns but the first hold figures, which stand to the right.
    """
    heading, *rows = ["| " + " | ".join(row) + " |" for row in table]
    rule = "| --- |" + (" ---: |" if figures else " --- |") * (len(table[0]) - 1)
    return "\n".join([heading, rule, *rows])
