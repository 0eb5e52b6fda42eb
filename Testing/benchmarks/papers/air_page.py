"""The page's section on AiR and handwritten digits, its sentences made from the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from page_parts import Figures, as_markdown, measured, read, verdict

_TITLE = "## AiR on handwritten digits"
_METHODS = {
    "identity": "no registration",
    "unet": "U-Net",
    "paper": "AiR, the paper's size",
    "large": "AiR, larger",
}
_KINDS = {"random": "Any two digits", "same": "The same digit"}
_WORDS = {"identity": "no registration", "unet": "the U-Net", "paper": "the paper's size", "large": "the larger"}
_NAMES = {"mse": "mean squared error", "dice": "Dice"}


def section(figures: Path) -> str:
    """Return the section as markdown.

    Args:
        figures: the folder of the JSON files.
    """
    found = read(figures / "air_test.json")
    if found is None:
        return f"{_TITLE}\n\nNot measured yet."
    records = read(figures / "air.json") or []
    pieces = [_TITLE, _about(found)]
    for kind, title in _KINDS.items():
        pieces += [f"### {title}", _table(found["figures"][kind]), _sentences(found["margins"][kind])]
    pieces += [_picture(), "### Size, time and training", _cost(found["models"], records), _how(found, records)]
    return "\n\n".join(pieces)


def _about(found: Figures) -> str:
    count = found["pairs"]["random"]
    return (
        "Wang and Delingette, 2021, register pairs of any two digits of MNIST and show pictures, without figures. "
        f"Here each network learns from digits 1 to 8,000 of MNIST's test set and is judged on the {count:,} that "
        "follow: each is the fixed image once, with another at random as the moving one. All learn from the same "
        "mix of pairs under the same loss (mean squared error, plus 0.01 times the mean squared difference of "
        "neighbouring displacements, which the paper does not have), one seed each. Dice is that of pixels above "
        "0.5; ± is half the 95 % interval over the pairs, which knows nothing of other seeds, and brackets hold such "
        "intervals of the difference, pair by pair."
    )


def _table(methods: Figures) -> str:
    rows = [["method", "mean squared error", "Dice", "folding %"]]
    for name, title in _METHODS.items():
        one = methods[name]
        cells = [_with_interval(one[key], form) for key, form in (("mse", ".4f"), ("dice", ".3f"))]
        rows.append([title, *cells, _with_interval(one["folding_percent"], ".2f")])
    return as_markdown(rows)


def _with_interval(one: Figures, form: str) -> str:
    return f"{one['mean']:{form}} ± {one['half']:{form}}"


def _sentences(margins: Sequence[Figures]) -> str:
    lines = []
    for one in margins:
        said = "; ".join(f"{name}: {_verdict(one[key])}" for key, name in _NAMES.items())
        words = _WORDS[one["better"]]
        lines.append(f"- {words[0].upper()}{words[1:]} against {_WORDS[one['than']]}: {said}.")
    return "\n".join(lines)


def _verdict(margin: Figures) -> str:
    mean, half = margin["mean"], margin["half"]
    return verdict(mean, mean - half, mean + half, none="no difference that these pairs can tell")


def _picture() -> str:
    return (
        "![Digits before and after registration](air.png)\n\nThe first eight of these pairs, four of either kind, none "
        "chosen by how it looks. A grid shows from where in the moving image, grey behind it, the warped one fetches."
    )


def _cost(models: Figures, records: Sequence[Figures]) -> str:
    rows = [["network", "weights", "CPU ms for one pair", "CPU ms per pair of 250", "steps", "training, CPU minutes"]]
    trained = {one["variant"]: one for one in records}
    for name in models:
        one, run = models[name], trained.get(name)
        took = [f"{run['steps']:,}", f"{run['cpu_seconds'] / 60:.0f}"] if run else ["-", "-"]
        times = [f"{one[key]:.2f}" for key in ("ms_alone", "ms_together")]
        rows.append([_METHODS[name], f"{one['parameters']:,}", *times, *took])
    return as_markdown(rows)


def _how(found: Figures, records: Sequence[Figures]) -> str:
    commands = [found["command"], *(one["command"] for one in records)]
    return "\n".join([measured(found, found["models"].values()), "", *(f"    {command}" for command in commands)])
