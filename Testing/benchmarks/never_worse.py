"""A model for any anatomy on pairs unlike brains: is the result ever worse than its start?

The start is what `regcore register` begins with when nothing is chosen, the affine. The pairs: two slices of a head CT,
which a network for volumes refuses and which are registered here as stacks of equal slices; and the prostate phantom,
MRI to ultrasound, whose true transform is rigid. Likeness is as `regcore register` reports it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from catalogue import OURS, PROJECT
from measured import FailedError, run_measured
from table import as_text

RUNS: dict[str, tuple[str, ...]] = {"start": ("--refine", "0"), "alone": ("--refine", "0"), "refined": ()}
HEADING = ["pair", "run", "likeness", "Dice", "TRE mm", "folding %", "worse than the start"]
_SLICES = 24
_SLICE_MM = 2.5
_KINDS = ("labels", "landmarks")

Figures = dict[str, float | str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, or 2 when something that is needed is missing."""
    chosen = _parse(arguments)
    data = Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "head_ct_2d"
    chosen.output.mkdir(parents=True, exist_ok=True)
    try:
        slices = [data / f"CT_2D_head_{side}.mha" for side in ("fixed", "moving")]
        said = refusal(chosen.model, slices, chosen.output)
        print(f"as 2D images: {said}")
        pairs = {
            "head CT, stacks of equal slices": [
                stack(path, chosen.output / f"{path.stem}_stack.nii.gz") for path in slices
            ],
            "prostate phantom": phantom(chosen.output / "phantom", chosen.threads),
        }
        found = {
            pair: registered(words, chosen.model, chosen.output / f"pair-{number}", chosen.threads)
            for number, (pair, words) in enumerate(pairs.items())
        }
    except (FailedError, RuntimeError) as error:
        sys.stderr.write(f"never_worse: {error}\n")
        return 2
    print(as_text(rows(found)))
    record = {"model": chosen.model, "as_2d_images": said, "figures": found}
    (chosen.output / "never_worse.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {chosen.output}/never_worse.json")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a deformable one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "bench" / "never-worse")
    return parser.parse_args(arguments)


def refusal(model: str, images: Sequence[Path], folder: Path) -> str:
    """Return what `regcore register` says of 2D images with this model; ``registered`` if it takes them."""
    command = [OURS / "regcore", "register", *images, "--model", model, "--refine", "0", "-o", folder / "plane", "-q"]
    try:
        run_measured(command, folder / "plane.log", 1)
    except FailedError:
        return (folder / "plane.log").read_text(encoding="utf-8").strip().removeprefix("regcore: ")
    return "registered"


def stack(image: Path, path: Path) -> Path:
    """Write a 2D image as a volume of equal slices to ``path``, and return that."""
    plane = sitk.ReadImage(str(image))
    volume = sitk.JoinSeries([plane] * _SLICES, 0.0, _SLICE_MM)
    sitk.WriteImage(volume, str(path), True)
    return path


def phantom(folder: Path, threads: int) -> list[str | Path]:
    """Write the prostate phantom and return what `regcore register` is to be told of it."""
    run_measured([OURS / "regcore", "phantom", "prostate", "-o", folder], folder.with_suffix(".log"), threads)
    endings = {"labels": ".nii.gz", "landmarks": ".csv"}
    known = [
        word
        for kind in _KINDS
        for side in ("fixed", "moving")
        for word in (f"--{side}-{kind}", folder / f"{side}_{kind}{endings[kind]}")
    ]
    return [folder / "fixed.nii.gz", folder / "moving.nii.gz", *known]


def registered(words: Sequence[str | Path], model: str, folder: Path, threads: int) -> dict[str, Figures]:
    """Return the figures of the start, of the network alone and of the network with refinement."""
    found = {}
    for name, options in RUNS.items():
        out = folder / name
        out.mkdir(parents=True, exist_ok=True)
        which = "none" if name == "start" else model
        command = [OURS / "regcore", "register", *words, "--model", which, *options, "--device", "cpu", "-q", "-o", out]
        run_measured(command, folder / f"{name}.log", threads)
        found[name] = figures(json.loads((out / "report.json").read_text(encoding="utf-8")))
    return found


def figures(report: Mapping[str, Any]) -> Figures:
    """Return what a report says of the result: likeness and its name, folding, and Dice and TRE where known."""
    likeness = report["similarity"]
    found = {"likeness": likeness["after"], "name": likeness["name"], "folding_percent": report["folding_percent"]}
    if "dsc" in report:
        found["dice"] = report["dsc"]["mean_after"]
    if "tre_mm" in report:
        found["tre_mm"] = report["tre_mm"]["after"]["mean"]
    return found


def worse(start: Figures, result: Figures) -> list[str]:
    """Return in which figures a result is worse than its start.

    Likeness is compared where both were compared by the same measure.
    """
    better: dict[str, float] = {"likeness": 1, "dice": 1, "tre_mm": -1}
    names = {"likeness": "likeness", "dice": "Dice", "tre_mm": "TRE"}
    same = start["name"] == result["name"]
    return [
        names[key]
        for key, sign in better.items()
        if key in start and (key != "likeness" or same) and sign * float(result[key]) < sign * float(start[key])
    ]


def rows(found: Mapping[str, Mapping[str, Figures]]) -> list[list[str]]:
    """Return the table."""
    table = [HEADING]
    for pair, runs in found.items():
        for name, one in runs.items():
            values = [f"{one[key]:{form}}" if key in one else "-" for key, form in (("dice", ".4f"), ("tre_mm", ".2f"))]
            verdict = "-" if name == "start" else ", ".join(worse(runs["start"], one)) or "no"
            likeness = f"{one['likeness']:.4f} ({one['name']})"
            table.append([pair, name, likeness, *values, f"{one['folding_percent']:.4f}", verdict])
    return table


if __name__ == "__main__":
    sys.exit(main())
