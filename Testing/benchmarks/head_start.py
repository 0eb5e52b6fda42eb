"""Dice against CPU seconds of refinement that starts from zero, and of one that starts from a network's displacement.

Both go on from the same affine, in one process. A budget is what `regcore register --refine N` takes; each is run
anew from its start, several times, and the least seconds count: what else a machine does only adds to them. The seconds
are those of the refinement, and from the network those of the network too, its weights read from the file; what both
share (reading, affine, writing the results) is left out. Where refinement compares the images by default is left to it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from catalogue import PROJECT
from curves import Point, Reached, reached, targets
from matplotlib.figure import Figure

from regcore.heap import keep_freed_memory
from regcore.image import Image
from regcore.io import read_image, read_labels
from regcore.metrics import dsc
from regcore.preprocess import Inputs, registration_grid
from regcore.settings import Settings
from regcore.start import bring_together
from regcore.steps import Found, Work, deformable_network, refined
from regcore.warp import warp

BUDGETS = (4, 6, 9, 12, 17, 34, 60, 86, 172)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, or 2 when something that is needed is missing."""
    chosen = _parse(arguments)
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()  # as the programs do
    try:
        inputs = Inputs(read_image(chosen.fixed, "fixed"), read_image(chosen.moving, "moving")).upright()
        labels = [
            read_labels(path, name)
            for path, name in ((chosen.fixed_labels, "fixed-labels"), (chosen.moving_labels, "moving-labels"))
        ]
        curves = measure(inputs.with_seen_parts()[0], labels, chosen.model, chosen.budgets, chosen.repeat)
    except ValueError as error:
        sys.stderr.write(f"head_start: {error}\n")
        return 2
    table = reached(curves["zero"], curves["network"], targets(curves["zero"], curves["network"]))
    chosen.output.mkdir(parents=True, exist_ok=True)
    record = {
        "model": chosen.model,
        "fixed": chosen.fixed.name,
        "moving": chosen.moving.name,
        "threads": chosen.threads,
        "budgets": list(chosen.budgets),
        "repeat": chosen.repeat,
        "curves": {start: [point._asdict() for point in points] for start, points in curves.items()},
        "reached": [asdict(e) | {"ratio": e.ratio, "refinement_ratio": e.refinement_ratio} for e in table],
    }
    (chosen.output / "head_start.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(curves, chosen.model, chosen.output / "head_start.png")
    for each in table:
        print(_line(each))
    print(f"written: {chosen.output}/head_start.json, head_start.png")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    data = Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "brain"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a deformable one")
    for side, scan in (("fixed", "scan_a"), ("moving", "scan_c")):
        parser.add_argument(f"--{side}", type=Path, default=data / f"{scan}.nii.gz")
        parser.add_argument(f"--{side}-labels", type=Path, default=data / f"{scan}_labels13.nii.gz")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="iterations (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, the fastest counts (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "bench" / "head-start")
    return parser.parse_args(arguments)


def measure(
    inputs: Inputs, labels: Sequence[Image], model: str, budgets: Sequence[int], repeat: int
) -> dict[str, list[Point]]:
    """Return a curve for each start, ``zero`` and ``network``: its start, and a point for each budget.

    Args:
        inputs: in canonical order.
        labels: of the fixed and the moving image.
        model: a deformable one.
        budgets: iterations of refinement.
        repeat: how often each run is timed.

    Raises:
        ValueError: no such model, or images that it does not register.
    """
    initial, _ = bring_together(inputs, ("affine",), None, _quiet, _go_on)
    work = Work(inputs, Settings(model=model), registration_grid(inputs.fixed.grid), torch.device("cpu"))

    def overlap(found: Found) -> float:
        seen = warp(labels[1], found.transform(work.grid), labels[0].grid, "nearest")
        return float(np.mean(list(dsc(labels[0].data, seen.data, _present(labels[0])).values())))

    affine = Found(initial)
    network, spent = _timed(lambda: deformable_network(model, affine, work, _quiet, _go_on), repeat)
    curves = {"zero": [Point(0.0, overlap(affine))], "network": [Point(spent, overlap(network))]}
    for name, start in (("zero", affine), ("network", network)):
        for budget in budgets:
            this = replace(work, settings=replace(work.settings, refine=budget))
            found, seconds = _timed(lambda start=start, this=this: refined(start, this, _quiet, _go_on), repeat)
            point = Point(curves[name][0].cpu_s + seconds, overlap(found))
            curves[name].append(point)
            print(f"from {name}, {budget} iterations: Dice {point.dice:.4f}, {point.cpu_s:.1f} CPU s", flush=True)
    return curves


def draw(curves: dict[str, list[Point]], model: str, path: Path) -> None:
    """Draw both curves into a small picture."""
    titles = {"zero": "refinement from zero", "network": f"{model}, then refinement"}
    figure = Figure(figsize=(5.2, 3.4), dpi=100, layout="tight")
    axes = figure.subplots()
    for (name, points), mark in zip(curves.items(), "os", strict=True):
        ordered = sorted(points)
        axes.plot([p.cpu_s for p in ordered], [p.dice for p in ordered], f"{mark}-", label=titles[name], markersize=4)
    axes.set(xlabel="CPU seconds after the affine", ylabel="Dice")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path)


def _timed(work: Callable[[], Found], repeat: int) -> tuple[Found, float]:
    """Return the result and the least CPU seconds of ``repeat`` runs."""
    seconds = []
    for _ in range(repeat):
        began = time.process_time()
        found = work()
        seconds.append(time.process_time() - began)
    return found, min(seconds)


def _present(labels: Image) -> list[int]:
    return [int(label) for label in labels.data.unique() if label != 0]


def _line(each: Reached) -> str:
    seconds = ["never" if s is None else f"{s:.1f} s" for s in (each.from_zero, each.from_network)]
    ratio = "" if each.ratio is None else f", ratio {each.ratio:.2f}, of refinement alone {each.refinement_ratio:.2f}"
    return f"Dice {each.dice:.3f}: {seconds[0]} from zero, {seconds[1]} from the network{ratio}"


def _quiet(fraction: float, message: str) -> None:
    """Nobody is told."""


def _go_on() -> bool:
    return False


if __name__ == "__main__":
    sys.exit(main())
