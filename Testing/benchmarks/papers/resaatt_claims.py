"""The paper's claims on ReSAAtt, and of each what the figures say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from statistics import mean

from page_parts import Figures, as_markdown, interval, verdict

NAMES = {"ssim": "SSIM", "uiqi": "UIQI", "dice": "Dice"}
_LITTLE = 0.01  # percent of pixels; "all but disappears"
_CLOSE = 0.02


def signs(margins: Sequence[float]) -> str:
    """Return in how many seeds the first was better, the range of the differences, and their mean where it has one."""
    above = sum(margin > 0 for margin in margins)
    counted = f"higher in {above} of {len(margins)} seeds, from {min(margins):+.4f} to {max(margins):+.4f}"
    if len(margins) == 1:
        return counted
    low, high = interval(margins)
    return f"{counted}, on average {mean(margins):+.4f} ({low:+.4f} to {high:+.4f})"


def weight_of(run: Figures) -> float:
    """Return lambda_R of a run of the sweep."""
    return float(run["variant"].partition("-")[2])


def _above(margin: Figures) -> bool:
    return bool(margin["low"] > 0)


def _similar(margin: Figures) -> bool:
    return bool(abs(margin["mean"]) <= _CLOSE)


_COMPARED = (
    (f"Dice and UIQI similar to demons (here: within {_CLOSE})", "demons", ("dice", "uiqi"), _similar),
    ("SSIM above demons", "demons", ("ssim",), _above),
    ("SSIM and UIQI above the U-Net under the same loss, first seed", "unet", ("ssim", "uiqi"), _above),
    ("all three above no registration", "identity", ("ssim", "uiqi", "dice"), _above),
)


def claims(cine: Figures, seeds: Sequence[Figures], sweep: Sequence[Figures]) -> str:
    """Return the paper's claims, and of each what the figures say.

    Args:
        cine: the figures of the hearts.
        seeds: of the trainings on hearts.
        sweep: of those with other weights of smoothness, the least first.
    """
    rows = [["the paper", "here"]]
    for claim, other, names, good in _COMPARED:
        found = [cine["margins"][other][name] for name in names]
        said = "; ".join(f"{NAMES[name]} {verdict(**margin)}" for name, margin in zip(names, found, strict=True))
        rows.append([claim, f"{_holds(all(map(good, found)))}: {said}"])
    pairs = [run["over_unet"] for run in seeds if "over_unet" in run]
    if pairs:
        of = {key: [run[key]["mean"] for run in pairs] for key in ("ssim", "uiqi")}
        said = "; ".join(f"{NAMES[key]} {signs(margins)}" for key, margins in of.items())
        rows.append(["the same over the seeds, each a training of its own", f"{_over_seeds(of.values())}: {said}"])
    if len(sweep) > 1:
        rows += _claims_of(sweep)
    return as_markdown(rows, figures=False)


def _claims_of(sweep: Sequence[Figures]) -> list[list[str]]:
    folds = [run["figures"]["folding_percent"]["mean"] for run in sweep]
    falls = all(a >= b for a, b in itertools.pairwise(folds)) and folds[0] > folds[-1]
    chain = " ≥ ".join(f"{value:.4f}" for value in folds) if falls else ", ".join(f"{value:.4f}" for value in folds)
    rows = [["the larger lambda_R, the less folding", f"{_holds(falls)}: {chain} %"]]
    chosen = next((run for run in sweep if weight_of(run) == 150), None)
    if chosen is not None:
        rare = chosen["figures"]["folding_percent"]["mean"]
        rows.append(["at 150 folding all but disappears", f"{_holds(rare <= _LITTLE)}: {rare:.4f} % of pixels"])
    for key, where in (("dice", 15.0), ("ssim", 1.5)):
        best = max(sweep, key=lambda run: run["figures"][key]["median"])
        here = weight_of(best)
        rows.append([f"the best {NAMES[key]} is at {where:g}", f"{_holds(here == where)}: it is at {here:g}"])
    return rows


def _over_seeds(every: Iterable[Sequence[float]]) -> str:
    """Return whether margins are above 0 beyond what chance does from one training to another."""
    least = [interval(margins)[0] if len(margins) > 1 else -math.inf for margins in every]
    return "holds" if min(least) > 0 else "not shown"


def _holds(good: bool) -> str:
    return "holds" if good else "does not hold"
