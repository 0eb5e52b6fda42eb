"""ReSAAtt on hearts and brains that no training has seen, beside the U-Net without its cells, demons and doing nothing.

The package's weights are those of the first seed. With `--models FOLDER`, where `train.py` left its runs, those are
judged instead, and the other seeds and the sweep over lambda_R as well, whose figures go to a file of their own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from measurement import data, described, header, load_network, model_file, set_up, write
from resaatt_demons import CHOSEN, demons
from resaatt_pairs import TestPairs, tested
from resaatt_picture import write_picture
from resaatt_runs import RUNS, SEEDS, WEIGHTS
from resaatt_scores import margins, scored, summary
from torch import Tensor

from regcore.models import RegistrationModel

MINE = "resaatt"
NETWORKS = (MINE, "unet")
METHODS = ("identity", "demons", "unet", MINE)
EXPERIMENTS = {"cine": "resaatt-cine", "brain": "resaatt-brain"}  # on which pairs which trainings are judged
_SWEEP = "resaatt-sweep"
_PACKAGES = ("torch", "SimpleITK")
_SHOWN = (4, 20, 37, 53)  # of the pairs of hearts

Method = Callable[[Tensor, Tensor], Tensor]  # of fixed and moving, (1, 1, H, W), to the displacement


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, or 2 when something that is needed is missing."""
    chosen = set_up(__doc__, arguments)
    chosen.figures.mkdir(parents=True, exist_ok=True)
    try:
        pairs = tested(data("brain"))
        kinds = {kind: _compared(kind, test, chosen.models, chosen.figures) for kind, test in pairs.items()}
        runs = [] if chosen.models is None else _every_run(pairs["cine"], chosen.models)
    except ValueError as error:
        sys.stderr.write(f"resaatt: {error}\n")
        return 2
    about = header("resaatt.py", chosen.threads, _PACKAGES, trained=False)
    records = {"resaatt_test.json": about | {"demons": CHOSEN._asdict()} | kinds}
    if runs:
        about = header("resaatt.py", chosen.threads, _PACKAGES, trained=True)
        records["resaatt_trained_test.json"] = about | {"runs": runs}
    for name, record in records.items():
        write(chosen.figures / name, record)
        print(f"written: {name}", flush=True)
    return 0


def _compared(kind: str, test: TestPairs, root: Path | None, figures: Path) -> dict[str, Any]:
    """Return the figures of every method on some pairs; of the hearts, some are drawn as well."""
    experiment = EXPERIMENTS[kind]
    shipped = {run.variant: run for run in RUNS if (run.experiment, run.seed) == (experiment, SEEDS[0])}
    files = {name: model_file(shipped[name], WEIGHTS[experiment, name], root) for name in NETWORKS}
    networks = {name: load_network(path) for name, path in files.items()}
    methods: dict[str, Method] = {"identity": _still, "demons": demons} | {
        name: _method(network) for name, network in networks.items()
    }
    fields, times = {}, {}
    for name in METHODS:
        fields[name], times[name] = _registered(methods[name], test)
    scores = {name: scored(test, field) for name, field in fields.items()}
    if kind == "cine":
        shown = [number for number in _SHOWN if number < len(test.pairs)]
        write_picture(
            figures.parent / "resaatt.png",
            [(test.pairs[n], {name: fields[name][n] for name in METHODS}) for n in shown],
        )
    return {
        "pairs": len(test.pairs),
        "groups": len(set(test.groups)),
        "structures": len(test.labels),
        "methods": {name: summary(one) | {"ms": 1000 * times[name]} for name, one in scores.items()},
        "margins": {name: margins(scores[MINE], scores[name], test.groups) for name in METHODS if name != MINE},
        "models": {name: described(networks[name], path) for name, path in files.items()},
    }


def _every_run(test: TestPairs, root: Path) -> list[dict[str, Any]]:
    """Return the figures of every finished training on hearts, with its margins over its seed's plain U-Net."""
    done = {run: run.model(root) for run in RUNS if run.experiment in (EXPERIMENTS["cine"], _SWEEP)}
    done = {run: path for run, path in done.items() if path.is_file()}
    networks = {run: load_network(path) for run, path in done.items()}
    scores = {run: scored(test, _registered(_method(network), test)[0]) for run, network in networks.items()}
    found = []
    for run, one in scores.items():
        plain = next(
            (r for r in scores if r.experiment == run.experiment and (r.variant, r.seed) == ("unet", run.seed)), None
        )
        beside = {} if plain in (None, run) else {"over_unet": margins(one, scores[plain], test.groups)}
        if beside:
            plain_skips = scored(test, _registered(_method(without_cells(networks[run])), test)[0])
            beside["without_cells"] = margins(plain_skips, one, test.groups)
        about = {"experiment": run.experiment, "variant": run.variant, "seed": run.seed}
        found.append(about | {"figures": summary(one)} | beside)
    return found


def without_cells(network: RegistrationModel) -> RegistrationModel:
    """Return a copy of a trained network whose skip connections hand on what they get, without what attention finds."""
    copy = deepcopy(network)
    copy.cells = torch.nn.ModuleList(torch.nn.Identity() for _ in cast(torch.nn.ModuleList, copy.cells))
    return copy


def _method(network: RegistrationModel) -> Method:
    def register(fixed: Tensor, moving: Tensor) -> Tensor:
        with torch.no_grad():
            field: Tensor = network(fixed, moving).displacement
        return field.float()

    return register


def _still(fixed: Tensor, moving: Tensor) -> Tensor:
    return fixed.new_zeros(1, 2, *fixed.shape[2:])


def _registered(method: Method, test: TestPairs) -> tuple[list[Tensor], float]:
    """Return the displacements of all pairs and the seconds per pair."""
    began = time.perf_counter()
    fields = [method(pair.fixed, pair.moving) for pair in test.pairs]
    return fields, (time.perf_counter() - began) / len(test.pairs)


if __name__ == "__main__":
    sys.exit(main())
