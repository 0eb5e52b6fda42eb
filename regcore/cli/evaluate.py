"""`regcore evaluate`: a table of pairs in, each registered, their figures and what they come to out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from regcore.checks import check_chain, choose_device
from regcore.cli.choices import settings_of
from regcore.cli.console import cancel_on_interrupt, following
from regcore.cli.evaluate_pair import Plan, evaluate_pair
from regcore.cli.method_options import add_method_options
from regcore.cohort.figures import read_metrics, rows_of, write_metrics
from regcore.cohort.report import write_cohort_report
from regcore.cohort.results import Run, described_settings, summary_of, write_json
from regcore.cohort.table import KNOWN, REQUIRED, Case, read_cohort
from regcore.cohort.workers import Outcome, in_processes, in_turn, on_cluster
from regcore.progress import CancelCheck, Cancelled, Progress

HELP = "register many pairs and measure them"


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(
        description="Register every pair of a table and write transforms, figures, their summary and a report. Run "
        "again, it goes on where it stopped: pairs whose files and settings have not changed are not done anew."
    )
    optional = ", ".join(KNOWN[len(REQUIRED) :])
    made.add_argument(
        "pairs",
        type=Path,
        help=f"CSV table with the columns {', '.join(REQUIRED)}, and where known {optional}; paths are relative to it",
    )
    made.add_argument("-o", "--output", type=Path, required=True, help="folder for the results; made if absent")
    made.add_argument("--compare", type=Path | None, default=None, help="output folder of another run, to test against")
    made.add_argument(
        "--jobs", type=int, default=1, help="pairs at once, each in a process with its share of the cores"
    )
    made.add_argument(
        "--dask", type=str | None, default=None, help="address of a Dask scheduler, as in tcp://host:8786"
    )
    add_method_options(made, "; a pair with an initial_transform in the table starts from that instead")
    made.add_argument("-q", "--quiet", action="store_true", help="show nothing but errors")
    made.add_argument("-v", "--verbose", action="store_true", help="show every step")
    made.add_argument("--json", action="store_true", help="progress and result as JSON lines on standard output")
    return made


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    plan, notes = _plan(chosen)
    cases = read_cohort(chosen.pairs, plan.fixed_labels_alone)
    other = None if chosen.compare is None else _second(chosen.compare.resolve())
    _make(plan.folder)
    with cancel_on_interrupt() as cancelled, following(chosen.quiet, chosen.json, chosen.verbose) as progress:
        outcomes = _outcomes(plan, cases, chosen, cancelled, progress)
    summary = _written(plan, cases, outcomes, other)
    failures = summary["failures"]
    if failures and not summary["done"]:
        pair, sentence = next(iter(failures.items()))
        raise ValueError(f"all {len(failures)} pairs failed, the first ({pair}) because: {sentence}")
    if failures:
        notes = [*notes, f"{len(failures)} of {len(cases)} pairs failed, see summary.json: {', '.join(failures)}"]
    for note in notes:
        sys.stderr.write(f"regcore: warning: {note}\n")
    if chosen.json:
        sys.stdout.write(json.dumps({"result": str(chosen.output), **summary}) + "\n")
    elif not chosen.quiet:
        sys.stdout.write(_table(summary) + f"\nReport: {chosen.output / 'report.html'}\n")


def _plan(chosen: Namespace) -> tuple[Plan, list[str]]:
    if chosen.jobs < 1:
        raise ValueError(f"jobs: expected 1 or more, got {chosen.jobs}")
    if chosen.dask is not None and chosen.jobs > 1:
        raise ValueError("jobs: the cluster decides how many pairs run at once; leave it out with --dask")
    if chosen.refine is not None and chosen.refine < 0:
        raise ValueError(f"refine: expected 0 or more iterations, got {chosen.refine}")
    settings, notes = settings_of(chosen)
    # Images may be 2D or 3D; what suits neither is refused here, the rest where an image is seen.
    check_chain(settings, 3)
    if chosen.dask is None:
        choose_device(settings.device)
    if settings.weights is not None:
        settings = replace(settings, weights=settings.weights.resolve())
    # Workers of a cluster start in other folders.
    init = str(Path(chosen.init).resolve()) if Path(chosen.init).is_file() else chosen.init
    return Plan(settings, init, chosen.gland_labels, chosen.output.resolve()), notes


def _second(folder: Path) -> Run:
    return Run(folder.name, read_metrics(folder / "metrics.csv"))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output: cannot write to {folder}: {error.strerror or error}") from error


def _outcomes(
    plan: Plan, cases: Sequence[Case], chosen: Namespace, cancelled: CancelCheck, progress: Progress
) -> dict[str, Outcome]:
    """Return pair -> what became of it, in the order of the table."""
    found: dict[str, Outcome] = {}

    def within(fraction: float, stage: str, message: str) -> None:
        progress((len(found) + fraction) / len(cases), cases[len(found)].id, stage)

    task = partial(evaluate_pair, plan)
    coming: Iterator[Outcome]
    if chosen.dask is not None:
        coming = on_cluster(task, cases, chosen.dask, cancelled)
    elif chosen.jobs > 1:
        coming = in_processes(task, cases, chosen.jobs, cancelled)
    else:
        coming = in_turn(partial(task, progress=within), cases, cancelled)
    try:
        for outcome in coming:
            found[outcome.id] = outcome
            word = " failed" if outcome.failure else "" if outcome.anew else " done before"
            progress(len(found) / len(cases), outcome.id + word, outcome.failure or "")
    except Cancelled:
        kept = sum(outcome.failure is None for outcome in found.values())
        said = f"cancelled; at least {kept} of {len(cases)} pairs are kept, the same command goes on from them"
        raise Cancelled(said) from None
    return {case.id: found[case.id] for case in cases}


def _written(plan: Plan, cases: Sequence[Case], outcomes: dict[str, Outcome], other: Run | None) -> dict[str, Any]:
    """Write what the cohort comes to, and return it."""
    reports = {case.id: report for case in cases if (report := outcomes[case.id].report) is not None}
    rows = [row for name, report in reports.items() for row in rows_of(name, report)]
    failures = {name: outcome.failure for name, outcome in outcomes.items() if outcome.failure is not None}
    warnings = {name: report["warnings"] for name, report in reports.items()}
    mine = Run(plan.folder.name, rows)
    if other is not None and other.name == mine.name:
        other = replace(other, name=f"{other.name} (second)")
    summary = summary_of(mine, failures, warnings, described_settings(plan.settings, plan.init), other)
    write_metrics(rows, plan.folder / "metrics.csv")
    write_json(summary, plan.folder / "summary.json")
    write_cohort_report(plan.folder / "report.html", summary, mine, other)
    return summary


def _table(summary: dict[str, Any]) -> str:
    """The figures that matter as a small text table."""
    lines = [f"{'':24}{'mean':>10}{'sd':>10}{'median':>10}{'pairs':>8}"]
    for title, found in summary["metrics"].items():
        cells = ["-" if found[key] is None else f"{found[key]:.4f}" for key in ("mean", "sd", "median")]
        lines.append(f"{title:24}{''.join(f'{cell:>10}' for cell in cells)}{found['number']:>8}")
    return "\n".join(lines)
