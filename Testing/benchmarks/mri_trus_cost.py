"""What `regcore register` costs with a rigid model, as a process of its own, and how far off its result is.

The cases are those of `mri_trus.py`, as they come: no start is known, so each begins at the gland's centre. Refinement
is kept only where the package can trust it, so both rows of a model may have one result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from catalogue import OURS, PROJECT, trained_models
from measured import FailedError, run_measured
from table import as_text

HEADING = ["model", "run", "SRE before mm", "start mm", "result mm", "CPU s", "peak MiB"]
RUNS: dict[str, tuple[str, ...]] = {"alone": ("--refine", "0"), "refined": ()}

Run = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, or 2 when something that is needed is missing."""
    chosen = _parse(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, list[Run]]] = {}
    try:
        for model in chosen.models or [row["name"] for row in trained_models("rigid")]:
            found[model] = {name: [_run(chosen, model, name, case) for case in chosen.cases] for name in RUNS}
    except FailedError as error:
        sys.stderr.write(f"mri_trus_cost: {error}\n")
        return 2
    print(as_text(rows(found)))
    record = {"cases": chosen.cases, "threads": chosen.threads, "figures": found}
    (chosen.output / "mri_trus_cost.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {chosen.output}/mri_trus_cost.json")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    data = Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "prostate"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data, help="folder of the cases; by default in REGCORE_DATA")
    parser.add_argument("--models", nargs="+", help="rigid ones (default: all that are trained)")
    parser.add_argument("--cases", nargs="+", default=["case16", "case17", "case18", "case19"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "bench" / "mri-trus-cost")
    return parser.parse_args(arguments)


def _run(chosen: argparse.Namespace, model: str, name: str, case: str) -> Run:
    out = chosen.output / model / name / case
    out.mkdir(parents=True, exist_ok=True)
    files = {
        "--fixed-labels": "mri_labels.nii.gz",
        "--moving-labels": "trus_labels.nii.gz",
        "--true-transform": "reference.tfm",
    }
    known = [word for option, file in files.items() for word in (option, chosen.data / f"{case}_{file}")]
    images = [chosen.data / f"{case}_{kind}.nii.gz" for kind in ("mri", "trus")]
    command = [OURS / "regcore", "register", *images, "--model", model, *RUNS[name], *known, "--device", "cpu", "-q"]
    cost = run_measured([*command, "-o", out], out.with_suffix(".log"), chosen.threads)
    errors = json.loads((out / "report.json").read_text(encoding="utf-8"))["sre_mm"]
    return {"before_mm": errors["before"], "start_mm": errors["initial"], "result_mm": errors["after"], **asdict(cost)}


def rows(found: Mapping[str, Mapping[str, Sequence[Run]]]) -> list[list[str]]:
    """Return the table: means over the cases; of the memory the most."""
    table = [HEADING]
    for model, runs in found.items():
        for name, many in runs.items():
            errors = [statistics.fmean(one[key] for one in many) for key in ("before_mm", "start_mm", "result_mm")]
            cpu, peak = statistics.fmean(one["cpu_s"] for one in many), max(one["peak_mib"] for one in many)
            table.append([model, name, *(f"{error:.2f}" for error in errors), f"{cpu:.1f}", f"{peak:.0f}"])
    return table


if __name__ == "__main__":
    sys.exit(main())
