"""The page of results as markdown text, from the figures that its parts left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from table import as_markdown, cells

GREATEST_FALL = 0.03  # of Dice when the contrast is turned over
LEAST_GAIN = 0.15  # of Dice over the affine on held-out brains
MOST_MM = {"attention-reg-small": 3.5, "attention-reg-label-small": 3.3}  # with the usual passes and ensemble
GREATEST_RATIO = 0.5  # of the seconds from the network to those from zero

_ABOUT = """# Results of the trained 3D models

Made by `make results`; do not edit. Every figure comes from a run of the commands that stand beside it.
"""


@dataclass(frozen=True)
class Part:
    """What one part of the measurements left behind.

    Attributes:
        run: commands, date, processor, cores and versions.
        figures: what each of its files holds, by the file's name.
    """

    run: Mapping[str, Any]
    figures: Mapping[str, Any]


def page(models: Sequence[Mapping[str, Any]], parts: Mapping[str, Part]) -> str:
    """Return the whole page.

    Args:
        models: the trained ones as `catalogue.trained_models` has them, with ``sha256`` by file.
        parts: those that have run.
    """
    pieces = [_ABOUT, as_markdown(_model_rows(models))]
    for name, (title, write) in _SECTIONS.items():
        pieces += [f"\n## {title}\n", write(parts[name]) if name in parts else "Not measured yet."]
        if name in parts:
            pieces.append(_how(parts[name].run))
    return "\n".join(pieces) + "\n"


def _model_rows(models: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["model", "kind", "network", "voxels mm", "parameters", "SHA-256 of the weights"]]
    for row in models:
        sums = ", ".join(digest[:12] for digest in row["sha256"].values())
        figures = [f"{row['spacing_mm']:g}", f"{row['parameters']:,}", sums]
        rows.append([row["name"], row["kind"], row["network"], *figures])
    return rows


def _how(run: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    where = f"{run['date']}, {run['processor']}, {run['cores']} cores, {versions}"
    commands = "\n".join(f"    {command}" for command in run["commands"])
    return f"\n{where}:\n\n{commands}"


def _brain(part: Part) -> str:
    record = part.figures["results.json"]
    peers = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    told = f"Fixed {record['fixed']}, moving {record['moving']}; {record['threads']} threads; peers: {peers}."
    return f"{told} HD95 is the mean over the structures.\n\n{as_markdown(cells(record['titles'], record['median']))}"


def _contrast(part: Part) -> str:
    from contrast import falls

    plain, turned = (part.figures[f"{which}/results.json"] for which in ("plain", "inverted"))
    rows = [["method", "Dice", "Dice, inverted", "fall", "folding %, inverted", f"falls by {GREATEST_FALL} at most"]]
    for name, row in falls(plain["median"], turned["median"]).items():
        figures = [f"{row['dice']:.4f}", f"{row['inverted_dice']:.4f}", f"{row['fall']:+.4f}"]
        folding = f"{row['inverted_folding_percent']:.5f}"
        rows.append([plain["titles"][name], *figures, folding, _yes(row["fall"] <= GREATEST_FALL)])
    return f"The moving image's intensities turned over inside the brain.\n\n{as_markdown(rows)}"


def _head_start(part: Part) -> str:
    record = part.figures["head_start.json"]
    limit = f"{GREATEST_RATIO} or less"
    rows = [["Dice", "CPU s from zero", "from the network", "ratio", limit, "refinement alone", limit]]
    for each in record["reached"]:
        seconds = ["never" if each[key] is None else f"{each[key]:.1f}" for key in ("from_zero", "from_network")]
        # Where only the network gets there, zero would need more than any number of seconds.
        first = each["from_network"] is not None and each["from_zero"] is None
        row = [f"{each['dice']:.3f}", *seconds]
        for ratio in (each["ratio"], each["refinement_ratio"]):
            row.append("-" if ratio is None else f"{ratio:.2f}")
            row.append(_yes(first) if ratio is None else _yes(ratio <= GREATEST_RATIO))
        rows.append(row)
    told = (
        f"Refinement with budgets of {', '.join(map(str, record['budgets']))} iterations, from the affine alone and "
        f"from what {record['model']} makes of it, {record['threads']} threads. The seconds are those after the "
        f"affine, the least of {record['repeat']} runs, the network's included (the last two columns leave them out); "
        "between two runs a straight line is drawn."
    )
    return f"{told}\n\n![Dice against CPU seconds](head_start.png)\n\n{as_markdown(rows)}"


def _held_out(part: Part) -> str:
    from held_out_brains import rows

    record = part.figures["held_out_brains.json"]
    gains = [
        fmean(one["after"] - one["before"] for one in many)
        for measured in record.values()
        for many in measured["figures"].values()
    ]
    first, *table = rows(record)
    judged = [[*row, _yes(gain >= LEAST_GAIN)] for row, gain in zip(table, gains, strict=True)]
    told = (
        "Brains 15 and 16, synthesised in each network's voxels and registered both ways by it alone; means over the "
        "pairs, the least gain beside them."
    )
    return f"{told}\n\n{as_markdown([[*first, f'gain {LEAST_GAIN} or more'], *judged])}"


def _any_anatomy(part: Part) -> str:
    from never_worse import rows

    record = part.figures["never_worse.json"]
    told = (
        f"{record['model']}. The CT pair are single slices; of those the command says `{record['as_2d_images']}`. "
        "They are registered here as stacks of equal slices. The phantom is MRI to ultrasound; its truth is rigid."
    )
    return f"{told}\n\n{as_markdown(rows(record['figures']))}"


def _prostate(part: Part) -> str:
    import mri_trus_cost
    from mri_trus import rows
    from mri_trus_methods import Outcome

    record, cost = part.figures["mri_trus.json"], part.figures["mri_trus_cost.json"]
    outcomes = {
        case: {method: [Outcome(**one) for one in many] for method, many in of.items()}
        for case, of in record["outcomes"].items()
    }
    heading, *every = rows(outcomes)
    mean = [row[1:] for row in every if row[0] == "mean"]
    told = (
        f"Surface registration error (SRE) over {record['starts']} starts of each of {', '.join(record['cases'])}, "
        f"{record['threads']} threads; `worse %` counts results worse than their start."
    )
    as_command = "As a command of its own, no start known; the means over the cases, of the memory the most."
    tables = [[heading[1:], *mean], _by_case(outcomes, record["spread_and_error"]), mri_trus_cost.rows(cost["figures"])]
    means, cases, commands = (as_markdown(table) for table in tables)
    asked = "; ".join(_asked(name, most, mean) for name, most in MOST_MM.items())
    by_case = (
        "Case by case, mm; `spread` is Spearman's correlation of the ensemble's spread with the true error, over all "
        f"starts. Asked for: {asked}."
    )
    return "\n\n".join([told, means, by_case, cases, as_command, commands])


def _by_case(outcomes: Mapping[str, Mapping[str, Sequence[Any]]], correlations: Mapping[str, float]) -> list[list[str]]:
    """Return each method's mean error in each case, and how its spread goes with the error."""
    table = [["method", *outcomes, "spread"]]
    for method in next(iter(outcomes.values())):
        means = [f"{fmean(one.result_mm for one in of[method]):.2f}" for of in outcomes.values()]
        table.append([method, *means, f"{correlations[method]:.2f}" if method in correlations else "-"])
    return table


def _asked(name: str, most: float, mean: Sequence[Sequence[str]]) -> str:
    """Return whether the ensemble of a model keeps within its limit."""
    from regcore.rigid_step import PASSES

    found = next((float(row[2]) for row in mean if row[0] == f"{name} x{PASSES}, ensemble"), None)
    said = "not measured" if found is None else _yes(found <= most)
    return f"{name} at most {most:g} mm: {said}"


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


_SECTIONS = {
    "brain": ("Brain MRI, two subjects", _brain),
    "contrast": ("Another contrast", _contrast),
    "head-start": ("Refinement from zero and from the network", _head_start),
    "held-out": ("Brains that no training has seen", _held_out),
    "any-anatomy": ("Other anatomy: never worse than the start", _any_anatomy),
    "prostate": ("Prostate, MRI and ultrasound", _prostate),
}
