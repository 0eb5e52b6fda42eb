"""AiR on handwritten digits that no training has seen: the paper's size, a larger one, a U-Net and no registration.

Each of the last 2,000 digits is the fixed image once, with another of them at random as the moving one: any digit, and
in a second round the same digit. Intervals are over the pairs; the weights are those of one seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from air_pairs import Scores, identity, margin, mean_of, partners, scores
from air_picture import write_picture
from air_runs import RUNS, WEIGHTS
from plan import FIGURES, PROJECT
from torch import Tensor

from regcore.data.digit_source import DigitOptions, DigitSource
from regcore.models import RegistrationModel
from regcore.weights import load_file, weight_files

KINDS = {"random": False, "same": True}
_HELD_OUT = (8000, 10000)
_SEED = 8
_AT_A_TIME = 250
_TIMED = 200  # pairs, one at a time
_SHOWN = {"random": (0, 1, 2, 3), "same": (4, 5, 6, 7)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, or 2 when something that is needed is missing."""
    chosen = _parse(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        files = {variant: model_file(variant, chosen.models) for variant in WEIGHTS}
        networks = {name: cast(RegistrationModel, load_file(path).networks[0]) for name, path in files.items()}
        pairs = held_out_pairs(Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "mnist")
    except ValueError as error:
        sys.stderr.write(f"air: {error}\n")
        return 2
    fields = {kind: displacements(networks, *images) for kind, images in pairs.items()}
    measured = {kind: {n: scores(*pairs[kind], u) for n, u in found.items()} for kind, found in fields.items()}
    record = {
        "command": "python Testing/benchmarks/papers/air.py" + (" --models bench/papers" if chosen.models else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "threads": chosen.threads,
        "versions": {package: version(package) for package in ("torch", "numpy")},
        "pairs": {kind: len(fixed) for kind, (fixed, _) in pairs.items()},
        "models": {name: described(networks[name], path, pairs["random"]) for name, path in files.items()},
        **summary(measured),
    }
    chosen.figures.mkdir(parents=True, exist_ok=True)
    path = chosen.figures / "air_test.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    picture = chosen.figures.parent / "air.png"
    write_picture(picture, {kind: _some(pairs[kind], fields[kind], _SHOWN[kind]) for kind in KINDS})
    print(f"written: {path.name}, {picture.name}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder of the trainings; without it the package's weights")
    parser.add_argument("--threads", type=int, default=1, help="of the processor (default: %(default)s)")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="the picture goes to the folder above")
    return parser.parse_args(arguments)


def model_file(variant: str, root: Path | None) -> Path:
    """Return the weights of a variant, those of its training under ``root`` or the package's.

    Raises:
        ValueError: there are none.
    """
    if root is None:
        path = next(iter(weight_files(WEIGHTS[variant])))
    else:
        path = next(run for run in RUNS if run.variant == variant).folder(root) / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"models: expected weights in {path.name} of {path.parent.name}; train first")
    return path


def held_out_pairs(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return fixed and moving images ``(N, 1, 28, 28)`` of each kind of pair.

    Args:
        folder: of the digits.

    Raises:
        ValueError: the files are missing or damaged.
    """
    images, digits = (str(folder / f"t10k-{part}.gz") for part in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    source = DigitSource(DigitOptions(images, digits, held_out=_HELD_OUT), 0)
    assert source.digits is not None
    fixed, shown = source.images[slice(*_HELD_OUT), None], source.digits[slice(*_HELD_OUT)].numpy()
    return {kind: (fixed, fixed[partners(shown, same=same, seed=_SEED)]) for kind, same in KINDS.items()}


def displacements(networks: Mapping[str, RegistrationModel], fixed: Tensor, moving: Tensor) -> dict[str, Tensor]:
    """Return the displacement of each network, and none as ``identity``, ``(N, 2, H, W)`` in pixels."""
    found = {"identity": identity(fixed)}
    for name, network in networks.items():
        found[name] = torch.cat([_displacement(network, *part) for part in _parts(fixed, moving)])
    return found


def summary(measured: Mapping[str, Mapping[str, Scores]]) -> dict[str, Any]:
    """Return means with intervals, and the margins over no registration and between networks."""
    figures = {
        kind: {name: {key: mean_of(values) for key, values in vars(one).items()} for name, one in many.items()}
        for kind, many in measured.items()
    }
    against = [*((name, "identity") for name in WEIGHTS), ("large", "paper"), ("large", "unet")]
    margins = {
        kind: [{"better": a, "than": b, **margin(many[a], many[b])} for a, b in against]
        for kind, many in measured.items()
    }
    return {"figures": figures, "margins": margins}


def described(network: RegistrationModel, path: Path, pairs: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Return size and weights of a network, and its milliseconds of processor time, the median over some runs.

    ``ms_alone`` is that for one pair, ``ms_together`` that per pair of many at once.
    """
    fixed, moving = pairs
    alone = [_seconds(network, fixed[n : n + 1], moving[n : n + 1]) for n in range(_TIMED)]
    together = [_seconds(network, *part) / len(part[0]) for part in _parts(fixed, moving)]
    return {
        "file": path.name,
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "ms_alone": 1000 * statistics.median(alone),
        "ms_together": 1000 * statistics.median(together),
    }


def _parts(fixed: Tensor, moving: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(fixed, _AT_A_TIME), torch.split(moving, _AT_A_TIME), strict=True))


def _displacement(network: RegistrationModel, fixed: Tensor, moving: Tensor) -> Tensor:
    with torch.inference_mode():
        displacement: Tensor = network(fixed, moving).displacement
        return displacement.float()


def _seconds(network: RegistrationModel, fixed: Tensor, moving: Tensor) -> float:
    began = time.process_time()
    _displacement(network, fixed, moving)
    return time.process_time() - began


def _some(
    pairs: tuple[Tensor, Tensor], fields: Mapping[str, Tensor], chosen: Sequence[int]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    places = np.array(chosen)
    return pairs[0][places], pairs[1][places], {name: field[places] for name, field in fields.items()}


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


if __name__ == "__main__":
    sys.exit(main())
