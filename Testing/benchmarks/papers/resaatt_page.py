"""The page's section on ReSAAtt, its sentences made from the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from page_parts import Figures, as_markdown, measured, read, verdict
from resaatt_claims import NAMES, claims, signs, weight_of

_TITLE = "## ReSAAtt on hearts and brains"
_METHODS = {"identity": "no registration", "demons": "diffeomorphic demons", "unet": "U-Net", "resaatt": "ReSAAtt"}
_ENDINGS = {"cine": "hearts", "brain": "pairs of brain slices"}
_PUBLISHED = {  # Table I: mean folding in percent, medians of Dice, UIQI and SSIM
    0.15: (3.3, 0.745, 0.897, 0.986),
    1.5: (1.0, 0.796, 0.899, 0.988),
    15.0: (0.19, 0.830, 0.892, 0.985),
    150.0: (0.00032, 0.803, 0.866, 0.972),
    1500.0: (0.0, 0.678, 0.842, 0.957),
}

_EXPERIMENTS = ("resaatt-cine", "resaatt-sweep", "resaatt-brain")


def section(figures: Path) -> str:
    """Return the section as markdown.

    Args:
        figures: the folder of the JSON files.
    """
    found, trained = (read(figures / name) for name in ("resaatt_test.json", "resaatt_trained_test.json"))
    if found is None:
        return f"{_TITLE}\n\nNot measured yet."
    records = [one | {"experiment": name} for name in _EXPERIMENTS for one in read(figures / f"{name}.json") or []]
    runs = [] if trained is None else trained["runs"]
    seeds = [one for one in runs if one["experiment"] == "resaatt-cine"]
    sweep = sorted((run for run in runs if run["experiment"] == "resaatt-sweep"), key=weight_of)
    pieces = [_TITLE, _about(found), "### Hearts", _table(found["cine"]), _sentences(found["cine"], "cine"), _picture()]
    pieces += [
        "### Slices of brains",
        _about_brains(found),
        _table(found["brain"]),
        _sentences(found["brain"], "brain"),
    ]
    pieces += ["### Seeds", _seeds(seeds), "### The weight of smoothness", _sweep(sweep, records)]
    pieces += ["### What holds of the paper", claims(found["cine"], seeds, sweep)]
    pieces += ["### How it was made", _trainings(records), _how(found, trained, records)]
    return "\n\n".join(pieces)


def _about(found: Figures) -> str:
    cine, demons = found["cine"], found["demons"]
    sizes = " and ".join(f"{cine['models'][name]['parameters']:,}" for name in ("resaatt", "unet"))
    return (
        "Parbs, Koch and Mertins, 2022, register end systole to end diastole of short-axis cine slices (ACDC, ten "
        "folds over 100 patients, 700 epochs). ACDC may not be passed on, so these are cine phantoms: 24 hearts to "
        f"learn from, {cine['groups']} others to be judged by ({cine['pairs']} slices of 96 x 96 pixels of 1.5 mm). "
        "The networks are of half the width, with cells in the two coarser of three skip connections (the third alone "
        "would cost several times as much), trained for 600 steps of 4 pairs on one split. The authors' ten folds and "
        "700 epochs are in `Resources/configs/resaatt.yaml`, for your own copy of ACDC. The U-Net is the same network "
        f"without cells ({sizes} weights), with the same loss, steps, pairs and seed. Demons are SimpleITK's: three "
        f"levels of {demons['iterations']} iterations, smoothing of {demons['sigma']:g} pixels, chosen on three of the "
        "hearts to learn from (`resaatt_demons.py`). Folding is the share of pixels with a negative determinant by "
        "forward differences, as in the paper."
    )


def _about_brains(found: Figures) -> str:
    one = found["brain"]
    return (
        "Axial slices (96 x 80 pixels of 2 mm) of different people, synthesised from label maps in T1-like grey: 14 "
        f"maps to learn from, {one['pairs']} pairs of bent slices of two others to be judged by; Dice of "
        f"{one['structures']} structures. Two brains differ more than two phases of one heart, and folds of the cortex "
        "have no counterpart."
    )


def _table(kind: Figures) -> str:
    """Return means over pairs, and of folding the median, quartiles, greatest value and share of pairs with any."""
    rows = [["method", *NAMES.values(), "folding %: median (quartiles; most)", "pairs that fold", "ms per pair"]]
    for name, title in _METHODS.items():
        one = kind["methods"][name]
        fold = one["folding_percent"]
        spread = f"{fold['median']:.4f} ({fold['low']:.4f} to {fold['high']:.4f}; {fold['most']:.3f})"
        means = [f"{one[key]['mean']:.3f}" for key in NAMES]
        rows.append([title, *means, spread, f"{100 * fold['share']:.0f} %", f"{one['ms']:.0f}"])
    return as_markdown(rows)


def _sentences(kind: Figures, name: str) -> str:
    lines = [f"ReSAAtt, pair by pair, with 95 % intervals over the {kind['groups']} {_ENDINGS[name]}:", ""]
    for other, margin in kind["margins"].items():
        said = "; ".join(f"{title} {verdict(**margin[key])}" for key, title in NAMES.items())
        lines.append(f"- against {_METHODS[other]}: {said}.")
    return "\n".join(lines)


def _picture() -> str:
    return (
        "![Slices of hearts before and after registration](resaatt.png)\n\nFour of these slices; yellow: the borders "
        "of the fixed labels. On the right ReSAAtt's displacement, and how much larger (red, up to twice) or smaller "
        "(blue, down to half) the areas are that it fetches from."
    )


def _seeds(seeds: Sequence[Figures]) -> str:
    """Return ReSAAtt's margins over the U-Net, seed by seed; they need the trainings."""
    pairs = [run for run in seeds if "over_unet" in run]
    if not pairs:
        return "Not measured yet."
    rows = [
        [
            "seed",
            *(f"ReSAAtt's {name}" for name in NAMES.values()),
            *(f"{name} over U-Net" for name in NAMES.values()),
        ]
    ]
    for run in pairs:
        mine = [f"{run['figures'][key]['mean']:.3f}" for key in NAMES]
        rows.append([str(run["seed"]), *mine, *(f"{run['over_unet'][key]['mean']:+.4f}" for key in NAMES)])
    said = [f"{title} {signs([run['over_unet'][key]['mean'] for run in pairs])}" for key, title in NAMES.items()]
    text = f"{as_markdown(rows)}\n\nReSAAtt against the U-Net of the same seed: {'; '.join(said)}."
    return f"{text}\n\n{_why(pairs)}" if len(pairs) > 1 and all("without_cells" in run for run in pairs) else text


def _why(pairs: Sequence[Figures]) -> str:
    """Return what the seeds and the cells each do to SSIM."""
    over = [run["over_unet"]["ssim"]["mean"] for run in pairs]
    cells = [-run["without_cells"]["ssim"]["mean"] for run in pairs]
    return (
        f"From seed to seed the margin in SSIM has a deviation of {stdev(over):.4f}. The cells are used: with what "
        f"their attention finds left out of the trained networks, SSIM falls by {mean(cells):.3f} on average "
        f"({min(cells):.3f} to {max(cells):.3f}). A U-Net that is trained without them learns to do without: what "
        "convolutions cannot do, to look at far parts of the picture, hearts that move smoothly hardly ask for. That "
        "last sentence is our reading of it; no experiment here shows it."
    )


def _sweep(sweep: Sequence[Figures], records: Sequence[Figures]) -> str:
    if not sweep:
        return "Not measured yet."
    steps = next((one["steps"] for one in records if one["experiment"] == "resaatt-sweep"), None)
    rows = [
        [
            "lambda_R",
            "folding %: mean",
            *(f"{name}, median" for name in NAMES.values()),
            "paper: folding %",
            "Dice",
            "UIQI",
            "SSIM",
        ]
    ]
    for run in sweep:
        one, there = run["figures"], _PUBLISHED.get(weight_of(run))
        theirs = ["-"] * 4 if there is None else [f"{there[0]:g}", *(f"{value:.3f}" for value in there[1:])]
        mine = [f"{one['folding_percent']['mean']:.4f}", *(f"{one[key]['median']:.3f}" for key in NAMES)]
        rows.append([f"{weight_of(run):g}", *mine, *theirs])
    took = (
        "" if steps is None else f" Each training is one of {steps} steps with the seed, pairs and steps of the others."
    )
    return f"ReSAAtt on the same hearts, everything but lambda_R fixed.{took}\n\n{as_markdown(rows)}"


def _trainings(records: Sequence[Figures]) -> str:
    if not records:
        return "Not trained yet."
    rows = [["training", "variant", "seeds", "steps", "CPU minutes each"]]
    for key in dict.fromkeys((one["experiment"], one["variant"]) for one in records):
        some = [one for one in records if (one["experiment"], one["variant"]) == key]
        minutes = sum(one["cpu_seconds"] for one in some) / len(some) / 60
        rows.append([*key, ", ".join(str(one["seed"]) for one in some), f"{some[0]['steps']:,}", f"{minutes:.0f}"])
    return as_markdown(rows)


def _how(found: Figures, trained: Figures | None, records: Sequence[Figures]) -> str:
    models = [one for kind in ("cine", "brain") for one in found[kind]["models"].values()]
    needs = "Seeds and sweep need the trainings; the rest is measured with the package's weights."
    commands = [
        found["command"],
        *([] if trained is None else [trained["command"]]),
        *(one["command"] for one in records),
    ]
    return "\n".join([f"{measured(found, models)} {needs}", "", *(f"    {command}" for command in commands)])
