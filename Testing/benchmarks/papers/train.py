"""Train what the papers' experiments need and is not there yet, one run after the other: `make papers-train`.

A run that was stopped goes on from its last checkpoint; one that is done is not repeated. After each, its last figures
on the held-out pairs are written beside those of the other runs of its experiment.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from plan import FIGURES, PROJECT, Run, chosen, runs

_CONFIG, _LOG, _TIME = "config.yaml", "log.csv", "time.json"
_HELD_OUT = "held_out/"

Record = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, 2 when a run failed, 4 when stopped."""
    options = _parse(arguments)
    try:
        todo = chosen(runs(), options.only, options.variant, options.seeds)
    except ValueError as error:
        sys.stderr.write(f"train: {error}\n")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = options.output.resolve()
    failed = []
    for number, run in enumerate(todo, start=1):
        name = f"{run.experiment}, {run.variant}, seed {run.seed}"
        try:
            done = run.model(root).is_file() or _train(run, root, options.threads)
        except KeyboardInterrupt:
            print(f"stopped at {name}; the same command goes on there", flush=True)
            return 4
        if not done:
            failed.append(name)
            continue
        note = record(run, root)
        keep(note, options.figures / f"{run.experiment}.json")
        print(f"{number} of {len(todo)}: {name}: {note['seconds']} s, {note['held_out']}", flush=True)
    for name in failed:
        sys.stderr.write(f"train: failed: {name}\n")
    return 2 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="EXPERIMENT", help="these alone")
    parser.add_argument("--variant", nargs="+", help="these alone")
    parser.add_argument("--seeds", type=int, help="so many of each variant, the first ones; without it all")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "bench" / "papers", help="for models and logs")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    return parser.parse_args(arguments)


def _train(run: Run, root: Path, threads: int) -> bool:
    """Run the command, add the time it took to that of earlier ones, and return whether it went to its end."""
    folder = run.folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    began, before = time.perf_counter(), _processor_seconds()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(run.started(root, threads), cwd=PROJECT, env=environment) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        finally:
            _add_time(folder, time.perf_counter() - began, _processor_seconds() - before)
    return status == 0


def _processor_seconds() -> float:
    """Return those of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _add_time(folder: Path, seconds: float, cpu_seconds: float) -> None:
    path = folder / _TIME
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"seconds": 0.0, "cpu_seconds": 0.0}
    after = {"seconds": before["seconds"] + seconds, "cpu_seconds": before["cpu_seconds"] + cpu_seconds}
    path.write_text(json.dumps(after), encoding="utf-8")


def record(run: Run, root: Path) -> Record:
    """Return what is to be known of a run that is done.

    Args:
        run: the one.
        root: the folder of all runs.
    """
    folder = run.folder(root)
    config = yaml.safe_load((folder / _CONFIG).read_text(encoding="utf-8"))
    took = json.loads((folder / _TIME).read_text(encoding="utf-8"))
    with (folder / _LOG).open(newline="", encoding="utf-8") as file:
        held_out = last_figures(csv.DictReader(file))
    ended = datetime.fromtimestamp(run.model(root).stat().st_mtime, UTC)
    return {
        "variant": run.variant,
        "seed": run.seed,
        "command": shlex.join(run.command(Path("bench/papers"))),
        "steps": config["run"]["steps"],
        **{name: round(value) for name, value in took.items()},
        "date": ended.date().isoformat(),
        "held_out": held_out,
    }


def last_figures(lines: Iterable[dict[str, str]]) -> dict[str, float]:
    """Return the figures of the held-out pairs in the last line of a log that has any."""
    found: dict[str, float] = {}
    for line in lines:
        now = {name.removeprefix(_HELD_OUT): value for name, value in line.items() if name.startswith(_HELD_OUT)}
        found = {name: float(value) for name, value in now.items() if value} or found
    return found


def keep(note: Record, path: Path) -> None:
    """Write a record into the file of its experiment, in the place of that of the same variant and seed."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_name(f".{path.name}")
    half_written.write_text(json.dumps(merged(before, note), indent=1) + "\n", encoding="utf-8")
    half_written.replace(path)


def merged(before: Iterable[Record], note: Record) -> list[Record]:
    """Return the records with one more, or anew; a variant's seeds together, variants as they first came."""
    every = {(one["variant"], one["seed"]): one for one in before} | {(note["variant"], note["seed"]): note}
    order = list(dict.fromkeys(variant for variant, _ in every))
    return [every[key] for key in sorted(every, key=lambda key: (order.index(key[0]), key[1]))]


if __name__ == "__main__":
    sys.exit(main())
