"""ReSAAtt on hearts and brains that no training has seen, beside the U-Net without its cells, demons and doing nothing.

The package's weights are those of the first seed. With `--models FOLDER`, where `train.py` left its runs, those are
judged instead, and the other seeds and the sweep over lambda_R as well, whose figures go to a file of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from plan import FIGURES, PROJECT, Run
from resaatt_demons import CHOSEN, demons
from resaatt_pairs import TestPairs, tested
from resaatt_picture import write_picture
from resaatt_runs import RUNS, WEIGHTS
from resaatt_scores import margins, scored, summary
from torch import Tensor

from regcore.models import RegistrationModel
from regcore.weights import load_file, weight_files

MINE = "resaatt"
NETWORKS = (MINE, "unet")
METHODS = ("identity", "demons", "unet", MINE)
EXPERIMENTS = {"cine": "resaatt-cine", "brain": "resaatt-brain"}  # on which pairs which trainings are judged
_SWEEP = "resaatt-sweep"
_SHOWN = (4, 20, 37, 53)  # of the pairs of hearts

Method = Callable[[Tensor, Tensor], Tensor]  # of fixed and moving, (1, 1, H, W), to the displacement


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, or 2 when something that is needed is missing."""
    chosen = _parse(arguments)
    torch.set_num_threads(chosen.threads)
    chosen.figures.mkdir(parents=True, exist_ok=True)
    try:
        pairs = tested(Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "brain")
        kinds = {kind: _compared(kind, test, chosen.models, chosen.figures) for kind, test in pairs.items()}
        runs = [] if chosen.models is None else _every_run(pairs["cine"], chosen.models)
    except ValueError as error:
        sys.stderr.write(f"resaatt: {error}\n")
        return 2
    command = "python Testing/benchmarks/papers/resaatt.py"
    _write(chosen.figures / "resaatt_test.json", _about(command, chosen.threads) | {"demons": CHOSEN._asdict()} | kinds)
    if runs:
        about = _about(f"{command} --models bench/papers", chosen.threads)
        _write(chosen.figures / "resaatt_trained_test.json", about | {"runs": runs})
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder of the trainings; without it the package's weights")
    parser.add_argument("--threads", type=int, default=1, help="of the processor (default: %(default)s)")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="the picture goes to the folder above")
    return parser.parse_args(arguments)


def model_file(experiment: str, variant: str, root: Path | None) -> Path:
    """Return the weights of a variant's first seed, those of its training under ``root`` or the package's.

    Raises:
        ValueError: there are none.
    """
    name = WEIGHTS[experiment, variant]
    if root is not None:
        path = _model_of(next(r for r in RUNS if (r.experiment, r.variant) == (experiment, variant)), root)
        if not path.is_file():
            raise ValueError(f"models: expected the weights of {experiment}, {variant}, found none; train first")
        return path
    return weight_files(name)[0]


def _compared(kind: str, test: TestPairs, root: Path | None, figures: Path) -> dict[str, Any]:
    """Return the figures of every method on some pairs; of the hearts, some are drawn as well."""
    files = {name: model_file(EXPERIMENTS[kind], name, root) for name in NETWORKS}
    networks = {name: _network(path) for name, path in files.items()}
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
        "models": {name: _described(networks[name], path) for name, path in files.items()},
    }


def _every_run(test: TestPairs, root: Path) -> list[dict[str, Any]]:
    """Return the figures of every finished training on hearts, with its margins over its seed's plain U-Net."""
    done = {run: _model_of(run, root) for run in RUNS if run.experiment in (EXPERIMENTS["cine"], _SWEEP)}
    done = {run: path for run, path in done.items() if path.is_file()}
    scores = {run: scored(test, _registered(_method(_network(path)), test)[0]) for run, path in done.items()}
    found = []
    for run, one in scores.items():
        plain = next(
            (r for r in scores if r.experiment == run.experiment and (r.variant, r.seed) == ("unet", run.seed)), None
        )
        beside = {} if plain in (None, run) else {"over_unet": margins(one, scores[plain], test.groups)}
        about = {"experiment": run.experiment, "variant": run.variant, "seed": run.seed}
        found.append(about | {"figures": summary(one)} | beside)
    return found


def _model_of(run: Run, root: Path) -> Path:
    return run.folder(root) / "model.safetensors"


def _network(path: Path) -> RegistrationModel:
    return cast(RegistrationModel, load_file(path).networks[0])


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


def _described(network: RegistrationModel, path: Path) -> dict[str, Any]:
    return {
        "file": path.name,
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _about(command: str, threads: int) -> dict[str, Any]:
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "threads": threads,
        "versions": {package: version(package) for package in ("torch", "SimpleITK")},
    }


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _write(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path.name}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
