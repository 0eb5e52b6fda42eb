"""Which networks the repetition of the papers' experiments trains, and by which command each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
CONFIGS = PROJECT / "Resources" / "configs"
FIGURES = PROJECT / "Resources" / "results" / "papers"

# Modules that each hold a RUNS, in the order of training.
PARTS = ("resaatt_runs", "air_runs", "ablation_runs")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        experiment: what it belongs to; its figures lie in a file of that name.
        variant: of the network, its loss or its data.
        seed: of the weights and of the samples.
        config: a file of `CONFIGS`, without its ending.
        words: further options of the program.
        program: ``regcore-train``, or a script of this folder that takes the same words.
    """

    experiment: str
    variant: str
    seed: int
    config: str
    words: tuple[str, ...] = ()
    program: str = "regcore-train"

    def folder(self, root: Path) -> Path:
        """Return where the run keeps model, checkpoints and logs."""
        return root / self.experiment / f"{self.variant}-seed{self.seed}"

    def model(self, root: Path) -> Path:
        """Return the file of its weights, there once it is done."""
        return self.folder(root) / "model.safetensors"

    def command(self, root: Path) -> list[str]:
        """Return the program and its words."""
        if self.program == "regcore-train":
            return [self.program, *self._words(root)]
        return ["python", str(self._script.relative_to(PROJECT)), *self._words(root)]

    def started(self, root: Path, threads: int) -> list[str]:
        """Return what this interpreter is to be started with, in the folder of the project."""
        script = ["-m", "regcore.training.command"] if self.program == "regcore-train" else [str(self._script)]
        more = ["--resume", "-q", "--run.pictures", "false", "--run.threads", str(threads)]
        return [sys.executable, *script, *self._words(root), *more]

    @property
    def _script(self) -> Path:
        return Path(__file__).resolve().with_name(self.program)

    def _words(self, root: Path) -> list[str]:
        config = str((CONFIGS / f"{self.config}.yaml").relative_to(PROJECT))
        return [config, "-o", str(self.folder(root)), "--seed", str(self.seed), *self.words]


def runs() -> tuple[Run, ...]:
    """Return those of every part, in the order of training."""
    return tuple(run for part in PARTS for run in importlib.import_module(part).RUNS)


def chosen(
    every: Iterable[Run],
    experiments: Iterable[str] | None = None,
    variants: Iterable[str] | None = None,
    seeds: int | None = None,
) -> list[Run]:
    """Return some of the runs, in their order.

    Args:
        every: to choose from.
        experiments: their names; None: any.
        variants: likewise.
        seeds: so many of each variant, the first ones; None: all.

    Raises:
        ValueError: a name that none of the runs has.
    """
    every = list(every)
    kept: list[Run] = []
    taken: dict[tuple[str, str], int] = {}
    names = {"experiment": experiments, "variant": variants}
    asked = {key: set(value) for key, value in names.items() if value is not None}
    for key, wanted in asked.items():
        known = {getattr(run, key) for run in every}
        for name in sorted(wanted - known):
            raise ValueError(f"{key}: expected one of {', '.join(sorted(known))}, got {name}")
    for run in every:
        one = (run.experiment, run.variant)
        if any(getattr(run, key) not in wanted for key, wanted in asked.items()):
            continue
        taken[one] = taken.get(one, 0) + 1
        if seeds is None or taken[one] <= seeds:
            kept.append(run)
    return kept
