"""The ablations' part of the page: every seed, and a variant's difference to the full network of the same seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from ablation_runs import FULL
from page_parts import as_markdown, interval, read

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """How one ablation is told.

    Attributes:
        experiment: whose figures these are.
        title: of the section.
        told: what was trained on what, and what the variants are.
        figure: of the held-out pairs that counts, ``start`` the same before registration.
        start: see ``figure``.
        name: of the figure, with its unit.
        sign: 1: the higher the better; -1: the lower.
    """

    experiment: str
    title: str
    told: str
    figure: str
    start: str
    name: str
    sign: int


PARTS = (
    Part(
        "ablation-caml",
        "CAML: its parts",
        "`caml` with 16 channels and one module at each of three levels, on pairs of random shapes of 32 x 32 x 32 "
        "voxels; 16 held-out pairs. The paper's parts are attention across levels, residual blocks on the skip "
        "connections and the second pass; the bottleneck between the passes is ours and saves parameters.",
        "dsc",
        "dsc_start",
        "Dice",
        1,
    ),
    Part(
        "ablation-attention-reg",
        "Attention-Reg and Feature-Reg",
        "The label variant for crops of 16 x 48 x 48, first stage, 16 prostate cases to learn from, 4 x 20 starts of "
        "four others. `no-attention` is the paper's Feature-Reg, for which it reports 5.22 mm against 4.44 mm with "
        "the block, at 32 x 96 x 96 and with 528 cases.",
        "sre_mm",
        "sre_start_mm",
        "SRE mm",
        -1,
    ),
    Part(
        "ablation-pan",
        "PAN: heads and orthogonality",
        "`pan` with 8 channels on brains synthesised at 4 mm; 8 held-out pairs. In full it has 1, 1, 2, 4 and 8 heads, "
        "finest level first, and the penalty on similar heads in the form of the authors' code; `single-heads` has one "
        "head of six channels at every level, and nothing to penalise.",
        "dsc",
        "dsc_start",
        "Dice",
        1,
    ),
)


def section(figures: Path) -> str:
    """Return the section as markdown.

    Args:
        figures: the folder of the JSON files.
    """
    pieces = [
        "## Ablations\n",
        "A network in full and without one of its parts: same samples, same number of steps, same seeds, one processor "
        "core. The figures are those of the held-out pairs after the last step, the same pairs for every seed. The "
        "difference is that of each variant to the full network, seed by seed; its interval is that of Student's t "
        "at 95 % over n seeds, not corrected for the number of comparisons. `none shown` is no proof of equality: "
        "with n this small only large differences show. CPU minutes compare better than wall minutes, since the "
        "computer was busy with other things too.",
    ]
    for part in PARTS:
        records = read(figures / f"{part.experiment}.json") or []
        pieces.append(f"\n### {part.title}\n\n{part.told}\n\n{_found(part, records)}")
    return "\n".join(pieces) + "\n"


def _found(part: Part, records: Sequence[Record]) -> str:
    if not records:
        return "Not measured yet."
    values = by_variant(records, part.figure)
    starts = by_variant(records, part.start)
    start = mean(value for of in starts.values() for value in of.values())
    steps = ", ".join(str(steps) for steps in sorted({one["steps"] for one in records}))
    dates = sorted({one["date"] for one in records})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    told = f"{part.name} before registration: {_number(start)}. {steps} steps each; trained {when}."
    command = f'    make papers-train PARTS="--only {part.experiment}"'
    shown = conclusion(values, start, part.sign)
    return f"{told}\n\n{as_markdown(rows(part, records))}\n\n{shown}\n\n{command}"


def by_variant(records: Sequence[Record], figure: str) -> dict[str, dict[int, float]]:
    """Return a figure by variant and seed, the full network first."""
    found: dict[str, dict[int, float]] = {FULL: {}}
    for one in records:
        found.setdefault(one["variant"], {})[one["seed"]] = one["held_out"][figure]
    return found


def rows(part: Part, records: Sequence[Record]) -> list[list[str]]:
    """Return the table."""
    values = by_variant(records, part.figure)
    seeds = sorted({seed for of in values.values() for seed in of})
    heading = ["variant", f"{part.name}, mean", *(f"seed {seed}" for seed in seeds)]
    table = [[*heading, "less the full network's", "95 % interval", "n", "difference", "CPU min", "wall min"]]
    for variant, of in values.items():
        every = [_number(of[seed]) if seed in of else "-" for seed in seeds]
        minutes = [
            f"{mean(one[key] for one in records if one['variant'] == variant) / 60:.1f}" if of else "-"
            for key in ("cpu_seconds", "seconds")
        ]
        told = ["-"] * 4 if variant == FULL else _compared(differences(of, values[FULL]), part.sign)
        table.append([variant, _number(mean(of.values())) if of else "-", *every, *told, *minutes])
    return table


def _compared(found: Sequence[float], sign: int) -> list[str]:
    if not found:
        return ["-", "-", "0", "-"]
    low, high = interval(found)
    between = "-" if math.isinf(high) else f"{low:+.3f} to {high:+.3f}"
    return [f"{mean(found):+.3f}", between, str(len(found)), verdict(found, sign)]


def differences(of: Mapping[int, float], full: Mapping[int, float]) -> list[float]:
    """Return a variant's figures less the full network's, for the seeds that both have."""
    return [of[seed] - full[seed] for seed in sorted(of.keys() & full.keys())]


def verdict(found: Sequence[float], sign: int) -> str:
    """Return whether a variant is worse or better than the full network.

    Args:
        found: its figures less the full network's, by seed.
        sign: 1: the higher the better; -1: the lower.
    """
    low, high = sorted(sign * end for end in interval(found))
    if high < 0:
        return "worse"
    return "better" if low > 0 else "none shown"


def conclusion(values: Mapping[str, Mapping[int, float]], start: float, sign: int) -> str:
    """Return in a sentence or two what helps here and what does not show.

    Args:
        values: the figure by variant and seed.
        start: the figure before registration.
        sign: 1: the higher the better; -1: the lower.
    """
    full = values[FULL]
    if not full:
        return "The full network is not trained yet; nothing is compared."
    if any(sign * (value - start) <= 0 for value in full.values()):
        return "The full network did not learn in every run: the table says nothing of its parts."
    told: dict[str, list[str]] = {"worse": [], "better": [], "none shown": []}
    for variant, of in values.items():
        if variant != FULL:
            told[verdict(differences(of, full), sign)].append(f"`{variant}`")
    words = {"worse": "Worse than in full here", "better": "Better", "none shown": "No difference shown"}
    return " ".join(f"{words[key]}: {', '.join(names)}." for key, names in told.items() if names)


def _number(value: float) -> str:
    return f"{value:.3f}"
