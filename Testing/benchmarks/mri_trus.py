"""Rigid registration of MRI and ultrasound from wrong starts: the networks, their peers and the gland's outlines.

For each case, starts with a wanted surface registration error of U(0, 20) mm are made about the centre of the gland's
crop: a fixed point x goes to reference(P^-1 x). Every method gets the same ones. The cases and their reference are
those of `regcore.data.rigid_cases`. The reference is itself uncertain by 2 to 3 mm, and was made from the glands'
outlines and landmarks: the row of the method that aligns those outlines says how well it agrees, not how right it is.
The table's standard deviations are over starts; a result is worse than its start by more than 0.001 mm.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from mri_trus_methods import PEERS, Case, Method, Outcome, find_methods, trained_networks
from table import as_text

from regcore.crop import gland_crop
from regcore.data.misalignment import misalign
from regcore.data.rigid_cases import read_case
from regcore.grid import Matrix
from regcore.io import read_labels
from regcore.metrics import sre
from regcore.rigid import register_rigid
from regcore.rigid_step import usual_passes
from regcore.transform import AffineTransform

PROJECT = Path(__file__).resolve().parents[2]
METHODS = (*PEERS, "attention-reg-small", "attention-reg-label-small")
MOST_MM = 20.0
HEADING = ["case", "method", "start mm", "result mm", "sd", "worse %", "s each"]
REPEATS = 10
_SAME_MM = 1e-3  # what is merely written down in another way has not become worse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, or 2 when something that is needed is missing."""
    chosen = _parse(arguments)
    torch.set_num_threads(chosen.threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(chosen.threads)
    try:
        names = [f"case{number:02d}" for number in numbers(chosen.cases)]
        cases = [read(chosen.data, name) for name in names]
        methods = find_methods(chosen.methods, chosen.ensemble, chosen.weights, print)
    except ValueError as error:
        sys.stderr.write(f"mri_trus: {error}\n")
        return 2
    outcomes = {
        case.name: run(case, make_starts(case, chosen.starts, chosen.seed), methods, chosen.seed) for case in cases
    }
    print(f"\n{as_text(rows(outcomes))}\n")
    correlations = _spread_and_error(outcomes)
    timings = _warm(cases[0], chosen)
    if chosen.json is not None:
        record = {
            "cases": names,
            "starts": chosen.starts,
            "seed": chosen.seed,
            "threads": chosen.threads,
            "versions": {name: version(name) for name in ("torch", "SimpleITK", "numpy")},
            "spread_and_error": correlations,
            "warm_seconds": timings,
            "outcomes": {
                case: {method: [asdict(one) for one in many] for method, many in of.items()}
                for case, of in outcomes.items()
            },
        }
        chosen.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"written: {chosen.json}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    data = Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "prostate"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data, help="folder of the cases; by default in REGCORE_DATA")
    parser.add_argument("--cases", default="16-19", help="numbers, such as 16-19 or 0,4,16-19 (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=40, help="per case (default: %(default)s)")
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), metavar="METHOD", help=f"{', '.join(METHODS)}, or another model"
    )
    parser.add_argument("--ensemble", type=int, default=8, help="members (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="folder of weights in the place of the package's own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the starts and of the ensembles")
    parser.add_argument("--json", type=Path, help="file for every single figure")
    return parser.parse_args(arguments)


def numbers(text: str) -> list[int]:
    """Return the whole numbers of a list such as ``0,4,16-19``.

    Raises:
        ValueError: it is not such a list.
    """
    found: list[int] = []
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not all(end.isdigit() for end in ends):
            raise ValueError(f"cases: expected numbers such as 16-19 or 0,4,16-19, got {text!r}")
        found += range(int(ends[0]), int(ends[-1]) + 1)
    return found


def read(folder: Path, name: str) -> Case:
    """Read a case and the gland of its ultrasound.

    Raises:
        ValueError: a file is missing or damaged.
    """
    labels = read_labels(folder / f"{name}_trus_labels.nii.gz", "moving-labels")
    return Case(
        **vars(read_case(folder, name)), moving_gland=labels.with_data((labels.data == 1).to(torch.uint8), "uint8")
    )


def make_starts(case: Case, count: int, seed: int) -> list[AffineTransform]:
    """Return starts from fixed to moving points, their surface registration errors drawn from U(0, 20) mm."""
    centre = gland_crop(case.gland, (1, 1, 1)).centre
    generator = torch.Generator().manual_seed(1000 * seed + int(case.name.removeprefix("case")))
    wanted = MOST_MM * torch.rand(count, generator=generator, dtype=torch.float64)
    surface = torch.as_tensor(case.surface - centre).expand(count, -1, -1)
    wrong = misalign(surface, wanted, generator).matrix.numpy()
    perturbed = [AffineTransform.of(matrix[:3, :3], matrix[:3, 3], centre) for matrix in wrong]
    return [one.inverse().compose(case.reference) for one in perturbed]


def run(
    case: Case, starts: Sequence[AffineTransform], methods: dict[str, Method], seed: int
) -> dict[str, list[Outcome]]:
    """Return what each method makes of each start."""
    found: dict[str, list[Outcome]] = {}
    for name, method in methods.items():
        registering = method(case, seed)
        found[name] = []
        for number, start in enumerate(starts):
            sys.stderr.write(f"\r{case.name} {name} {number + 1}/{len(starts)}\x1b[K")
            sys.stderr.flush()
            began = time.perf_counter()
            result = registering(start)
            seconds = time.perf_counter() - began
            before, after = (sre(case.surface, each, case.reference) for each in (start, result.transform))
            found[name].append(Outcome(before, after, seconds, result.spread_mm, result.failed, result.refined))
    sys.stderr.write("\r\x1b[K")
    return found


def rows(outcomes: dict[str, dict[str, list[Outcome]]]) -> list[list[str]]:
    """Return the table: a row per case and method, and one per method over all."""
    together: dict[str, list[Outcome]] = {}
    table = [HEADING]
    for case, of in outcomes.items():
        table += [[case, name, *_figures(many)] for name, many in of.items()]
        for name, many in of.items():
            together.setdefault(name, []).extend(many)
    return table + [["mean", name, *_figures(many)] for name, many in together.items()]


def _figures(many: Sequence[Outcome]) -> list[str]:
    start, end = (np.array([getattr(one, side) for one in many]) for side in ("start_mm", "result_mm"))
    seconds = statistics.fmean(one.seconds for one in many)
    worse = 100 * float((end > start + _SAME_MM).mean())
    return [f"{start.mean():.2f}", f"{end.mean():.2f}", f"{end.std():.2f}", f"{worse:.0f}", f"{seconds:.2f}"]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the rank correlation of two lists, equal values sharing their mean rank; nan if one has no order."""
    one, other = _ranks(first), _ranks(second)
    scale = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / scale if scale > 0 else float("nan")


def _ranks(values: Sequence[float]) -> Matrix:
    """Return the ranks less their mean."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(ranks[inverse] - ranks[inverse].mean())


def _spread_and_error(outcomes: dict[str, dict[str, list[Outcome]]]) -> dict[str, float]:
    """Print how the ensembles' spread goes with the true error, and what refinements and failures there were."""
    found = {}
    for name in next(iter(outcomes.values())):
        many = [one for of in outcomes.values() for one in of[name]]
        sure = [one for one in many if one.spread_mm is not None]
        # A method that does not look at the start has one result per case: too few to rank.
        if len({round(one.result_mm, 6) for one in sure}) > len(outcomes):
            found[name] = spearman([float(one.spread_mm or 0) for one in sure], [one.result_mm for one in sure])
            spread = statistics.fmean(one.spread_mm or 0 for one in sure)
            print(f"{name}: spread {spread:.2f} mm, Spearman correlation with the error {found[name]:.2f}")
        if any(one.refined is not None for one in many):
            print(f"{name}: {sum(bool(one.refined) for one in many)} of {len(many)} refinements kept")
        if any(one.failed for one in many):
            print(f"{name}: failed {sum(one.failed for one in many)} of {len(many)} times; the start stands for these")
    return found


def _warm(case: Case, chosen: argparse.Namespace) -> dict[str, list[float]]:
    """Print the median time of a registration and of its first two passes, networks and volumes in memory."""
    start = make_starts(case, 1, chosen.seed)[0]
    found: dict[str, list[float]] = {}
    for name in [method for method in chosen.methods if method not in PEERS]:
        networks = trained_networks(name, chosen.weights)
        for ensemble in (1, chosen.ensemble):
            taken = []
            for _ in range(REPEATS + 1):
                began = time.perf_counter()
                passes = usual_passes(networks)
                result = register_rigid(
                    networks, case.fixed, case.moving, case.gland, start, stages=passes, ensemble=ensemble
                )
                taken.append([*result.seconds[:2], time.perf_counter() - began])
            first, second, whole = np.median(taken[1:], axis=0).tolist()
            found[f"{name}, ensemble of {ensemble}"] = [first, second, whole]
            print(
                f"{name}, ensemble of {ensemble}: {whole:.3f} s warm, pass 1 {first:.3f} s, pass 2 {second:.3f} s, "
                f"median of {REPEATS} on {chosen.threads} threads"
            )
    return found


if __name__ == "__main__":
    sys.exit(main())
