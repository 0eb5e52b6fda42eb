"""The log of a run as one CSV file, one line per step that logged anything; a resumed run goes on in it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from regcore.atomic import replacing


class CsvLog(Logger):
    """Keeps the lines of ``path`` up to the step a run goes on from, and writes the file anew at each `save`.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = {int(row["step"]): {k: v for k, v in row.items() if v} for row in csv.DictReader(file)}

    @property
    def name(self) -> str:
        """Of the logger."""
        return "csv"

    @property
    def version(self) -> int:
        """Of the run; there is one per folder."""
        return 0

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Do nothing: the folder holds the configuration."""

    def go_on_from(self, step: int) -> None:
        """Forget what was logged after ``step``."""
        self.rows = {at: row for at, row in self.rows.items() if at <= step}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add figures to the line of a step."""
        known = {name: f"{value:.6g}" for name, value in metrics.items() if name != "epoch"}
        if known and step is not None:
            self.rows.setdefault(step, {"step": step}).update(known)

    @rank_zero_only
    def save(self) -> None:
        """Write the file; it is replaced in one step."""
        if not self.rows:
            return
        names = dict.fromkeys(name for row in self.rows.values() for name in row)
        with replacing(self.path) as temporary, Path(temporary).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.rows))
