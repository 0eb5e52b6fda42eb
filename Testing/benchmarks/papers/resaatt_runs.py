"""The trainings behind ReSAAtt's tables: with and without its cells, and the paper's five weights of smoothness."""

from __future__ import annotations

import json

from plan import Run

from regcore.losses.resaatt import RESAATT_WEIGHTS

LAMBDAS = (0.15, 1.5, 15.0, 150.0, 1500.0)  # of the paper's Table I; 150 is its choice
SEEDS = (1, 2, 3, 4, 5, 6)
SWEEP_STEPS = 250

_UNET = ("--model.name", "unet", "--model.options", '{"width": 16}')
_PUBLISHED = 150.0


def loss_with(weight: float) -> str:
    """Return the paper's loss with another lambda_R, as an option of the training.

    Args:
        weight: lambda_R as the paper counts it, 150 being that of `RESAATT_WEIGHTS`. ``diffusion`` is the mean
            over both components and both axes of what ``smoothness`` sums, a fourth of it.
    """
    smoothness = 4 * RESAATT_WEIGHTS["smoothness"] * weight / _PUBLISHED
    weights = {"ssim": RESAATT_WEIGHTS["ssim"], "mse": RESAATT_WEIGHTS["mse"], "diffusion": smoothness}
    return json.dumps([{"name": name, "weight": round(number, 7)} for name, number in weights.items()])


def of_lambda(weight: float) -> str:
    """Return the name of a run of the sweep."""
    return f"lambda-{weight:g}"


# The first seed's weights are shipped as these.
WEIGHTS = {
    ("resaatt-cine", "resaatt"): "resaatt-cine",
    ("resaatt-cine", "unet"): "unet-cine",
    ("resaatt-brain", "resaatt"): "resaatt-brain",
    ("resaatt-brain", "unet"): "unet-brain",
}

_FIRST = (Run("resaatt-cine", "resaatt", 1, "resaatt_cine"), Run("resaatt-cine", "unet", 1, "resaatt_cine", _UNET))
_SWEEP = tuple(
    Run(
        "resaatt-sweep",
        of_lambda(weight),
        1,
        "resaatt_cine",
        ("--loss", loss_with(weight), "--run.steps", str(SWEEP_STEPS)),
    )
    for weight in LAMBDAS
)
_BRAIN = (Run("resaatt-brain", "resaatt", 1, "resaatt_brain"), Run("resaatt-brain", "unet", 1, "resaatt_brain", _UNET))
_OTHERS = tuple(
    Run("resaatt-cine", variant, seed, "resaatt_cine", words)
    for seed in SEEDS[1:]
    for variant, words in (("resaatt", ()), ("unet", _UNET))
)
RUNS = _FIRST + _SWEEP + _BRAIN + _OTHERS
