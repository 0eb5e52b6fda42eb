"""What the measurements of trained networks share: their options, data and weights, and what is recorded of each."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from plan import FIGURES, PROJECT, Run

from regcore.models import RegistrationModel
from regcore.weights import load_file, weight_files


def set_up(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options ``models``, ``threads`` and ``figures``, and set the number of threads.

    Args:
        description: of the script, for its help.
        arguments: those of the command line unless given.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder of the trainings; without it the package's weights")
    parser.add_argument("--threads", type=int, default=1, help="of the processor (default: %(default)s)")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="the picture goes to the folder above")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    return chosen


def data(name: str) -> Path:
    """Return a folder of real data."""
    return Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / name


def model_file(run: Run, shipped: str, root: Path | None) -> Path:
    """Return the weights of a run.

    Args:
        run: the one.
        shipped: name of the package's model that holds them.
        root: the folder of all runs; None: the package's weights.

    Raises:
        ValueError: there are none.
    """
    files = weight_files(shipped) if root is None else (run.model(root),)
    if not files or not files[0].is_file():
        raise ValueError(f"models: expected the weights of {run.experiment}, {run.variant}, found none; train first")
    return files[0]


def load_network(path: Path) -> RegistrationModel:
    """Return the network of a file of weights."""
    return cast(RegistrationModel, load_file(path).networks[0])


def described(network: RegistrationModel, path: Path) -> dict[str, Any]:
    """Return a network's number of parameters, and the name and checksum of its weights."""
    return {
        "file": path.name,
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def header(script: str, threads: int, packages: Iterable[str], *, trained: bool) -> dict[str, Any]:
    """Return by which command, when and on what something was measured.

    Args:
        script: of this folder.
        threads: of the processor.
        packages: whose versions matter.
        trained: it was told the folder of the trainings.
    """
    return {
        "command": f"python Testing/benchmarks/papers/{script}" + (" --models bench/papers" if trained else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "threads": threads,
        "versions": {package: version(package) for package in packages},
    }


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, its folder made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
