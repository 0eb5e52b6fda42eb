"""Compare whole registrations with their peers: `make bench`.

Every method is one process, files to files, with the same number of threads. The peers start from the affine that
`affine_alone.py` finds, and its cost is added to theirs. Settings are the tools' own or those of their manuals; none
was chosen on these images. Each trained deformable model that comes with the package runs alone and with refinement.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from catalogue import PROJECT, leave_own_models_out, trained_models
from contrast import write_inverted
from measured import Cost, FailedError, run_measured
from methods import Method, Task, methods_with
from scoring import score
from table import as_markdown, as_text, cells, compare, medians

PACKAGES = ("picsl-greedy", "antspyx", "SimpleITK", "numpy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, or 2 when something that is needed is missing."""
    chosen = _parse(arguments)
    files = (chosen.fixed, chosen.moving, chosen.fixed_labels, chosen.moving_labels)
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        sys.stderr.write(f"bench: no such file: {', '.join(missing)}; set REGCORE_DATA or name your own images\n")
        return 2
    if not chosen.own_models:
        leave_own_models_out(chosen.output / "no-models")
    methods = methods_with([row["name"] for row in trained_models("deformable")])
    if unknown := sorted(set(chosen.only or ()) - methods.keys()):
        sys.stderr.write(f"bench: only: no method is called {', '.join(unknown)}; there are {', '.join(methods)}\n")
        return 2
    if chosen.inverted:
        chosen.output.mkdir(parents=True, exist_ok=True)
        chosen.moving = write_inverted(chosen.moving, chosen.output / "inverted.nii.gz")
    methods = {name: method for name, method in methods.items() if name in ("affine", *(chosen.only or methods))}
    print(f"fixed {chosen.fixed}\nmoving {chosen.moving}\n{chosen.threads} threads", flush=True)
    runs: dict[str, list[dict[str, object]]] = {}
    try:
        for number in range(chosen.repeat):
            _run_all(chosen, methods, chosen.output / f"run-{number}", runs)
    except FailedError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    _report(chosen, methods, runs)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    data = Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "brain"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for side, scan in (("fixed", "scan_a"), ("moving", "scan_c")):
        parser.add_argument(f"--{side}", type=Path, default=data / f"{scan}.nii.gz")
        parser.add_argument(f"--{side}-labels", type=Path, default=data / f"{scan}_labels13.nii.gz")
    parser.add_argument("--swap", action="store_true", help="register the other way round")
    parser.add_argument("--inverted", action="store_true", help="turn the moving image's intensities over")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="the affine is always run: peers need it")
    parser.add_argument("--own-models", action="store_true", help="run models that you have imported too")
    parser.add_argument("--repeat", type=int, default=1, help="the table shows medians")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "bench")
    chosen = parser.parse_args(arguments)
    if chosen.swap:
        chosen.fixed, chosen.moving = chosen.moving, chosen.fixed
        chosen.fixed_labels, chosen.moving_labels = chosen.moving_labels, chosen.fixed_labels
    return chosen


def _run_all(
    chosen: argparse.Namespace, methods: dict[str, Method], folder: Path, runs: dict[str, list[dict[str, object]]]
) -> None:
    task = Task(chosen.fixed, chosen.moving, folder / "affine" / "affine.h5", chosen.threads)
    affine_cost = Cost(0.0, 0.0, 0.0)
    for name, method in methods.items():
        out = folder / name
        shutil.rmtree(out, ignore_errors=True)  # nothing of an earlier run may be scored
        out.mkdir(parents=True)
        cost = run_measured(method.command(task, out), folder / f"{name}.log", chosen.threads)
        if name == "affine":
            affine_cost = cost
        result = score([out / file for file in method.transforms], chosen.fixed_labels, chosen.moving_labels)
        row = {**asdict(result), **asdict(cost), "own_wall_s": cost.wall_s, "own_cpu_s": cost.cpu_s}
        if method.after_affine:
            row["wall_s"] += affine_cost.wall_s
            row["cpu_s"] += affine_cost.cpu_s
        runs.setdefault(name, []).append(row)
        print(f"{name}: Dice {result.dice:.4f}, {row['cpu_s']:.1f} CPU s", flush=True)


def _report(chosen: argparse.Namespace, methods: dict[str, Method], runs: dict[str, list[dict[str, object]]]) -> None:
    rows = {name: medians([_numbers(run) for run in of]) for name, of in runs.items()}
    compare(rows)
    titles = {name: method.title for name, method in methods.items()}
    table = cells(titles, rows)
    record = {
        "fixed": chosen.fixed.name,
        "moving": chosen.moving.name,
        "titles": titles,
        "threads": chosen.threads,
        "processor": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "median": rows,
        "runs": runs,
    }
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "results.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (chosen.output / "results.md").write_text(as_markdown(table) + "\n", encoding="utf-8")
    print(f"\n{as_text(table)}\n\n{as_markdown(table)}\n\nwritten: {chosen.output}/results.json, results.md")


def _numbers(run: dict[str, object]) -> dict[str, float]:
    return {key: float(value) for key, value in run.items() if isinstance(value, int | float)}


if __name__ == "__main__":
    sys.exit(main())
