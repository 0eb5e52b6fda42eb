"""The ablations: a paper's network in full and without one of its parts, on the same samples and for as many steps.

They lie seed by seed, so that the tables are balanced wherever the trainings are stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from plan import Run

SEEDS = (1, 2, 3)
FULL = "full"


@dataclass(frozen=True)
class Ablation:
    """One network, in full and reduced.

    Attributes:
        experiment: its name.
        config: see `plan.Run`.
        words: of every run.
        variants: the words of each, by name; the full network first.
    """

    experiment: str
    config: str
    words: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]


def _options(**options: object) -> tuple[str, str]:
    return "--model.options", json.dumps(options)


def _caml(**reduced: object) -> tuple[str, str]:
    # Three levels: with the fourth, 32 voxels would be padded to 36 along one axis.
    small = {"channels": 16, "depths": [1, 1, 1], "heads": [1, 2, 4], "stochastic_depth": 0.0, "checkpoint": False}
    return _options(**small, **reduced)


def _pan(weight: float, name: str = "pan", **options: object) -> tuple[str, ...]:
    parts = {"soft_dice": 1.0, "diffusion": 0.15, "orthogonality_query": weight, "orthogonality_key": weight}
    loss = json.dumps([{"name": part, "weight": share} for part, share in parts.items() if share])
    return "--model.name", name, *_options(channels=8, **options), "--loss", loss


ABLATIONS = (
    Ablation(
        "ablation-caml",
        "caml_small",
        (
            *("--data.shapes.pairs_held_out", "16", "--optimiser.rate", "0.003"),
            *("--run.steps", "600", "--run.validate_every", "200"),
        ),
        {
            FULL: _caml(),
            "no-cross-levels": _caml(cross_levels="none"),
            "no-residual-skips": _caml(residual_skips=False),
            "no-cascade": _caml(cascade=False),
            "no-bottleneck": _caml(bottleneck=False),
        },
    ),
    Ablation(
        "ablation-attention-reg",
        "attention_reg_small",
        (
            *("--optimiser.warm_up", "20", "--optimiser.ema", "0.95"),
            *("--run.steps", "200", "--run.batch", "4", "--run.validate_every", "100"),
        ),
        {
            FULL: ("--model.name", "attention-reg-label-small"),
            "no-attention": ("--model.name", "feature-reg-label-small"),
        },
    ),
    Ablation(
        "ablation-pan",
        "pan_small",
        (
            *("--data.labels.pairs_held_out", "8", "--optimiser.ema", "0.9"),
            *("--run.steps", "150", "--run.validate_every", "75"),
        ),
        {
            FULL: _pan(1.0),
            "no-orthogonality": _pan(0.0),
            "orthogonality-of-the-paper": _pan(1.0, orth="paper"),
            "single-heads": _pan(0.0, "pan-single-head"),
        },
    ),
)

RUNS = tuple(
    Run(each.experiment, variant, seed, each.config, (*each.words, *words), "ablation_models.py")
    for seed in SEEDS
    for each in ABLATIONS
    for variant, words in each.variants.items()
)
