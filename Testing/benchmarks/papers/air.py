"""AiR on handwritten digits that no training has seen: the paper's size, a larger one, a U-Net and no registration.

Each of the last 2,000 digits is the fixed image once, with another of them at random as the moving one: any digit, and
in a second round the same digit. Intervals are over the pairs; the weights are those of one seed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from air_pairs import Scores, identity, margin, mean_of, partners, scores
from air_picture import write_picture
from air_runs import RUNS, WEIGHTS
from measurement import data, described, header, load_network, model_file, set_up, write
from torch import Tensor

from regcore.data.digit_source import DigitOptions, DigitSource
from regcore.models import RegistrationModel

KINDS = {"random": False, "same": True}
_HELD_OUT = (8000, 10000)
_SEED = 8
_AT_A_TIME = 250
_TIMED = 200  # pairs, one at a time
_SHOWN = {"random": (0, 1, 2, 3), "same": (4, 5, 6, 7)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, or 2 when something that is needed is missing."""
    chosen = set_up(__doc__, arguments)
    try:
        files = {run.variant: model_file(run, WEIGHTS[run.variant], chosen.models) for run in RUNS}
        networks = {name: load_network(path) for name, path in files.items()}
        pairs = held_out_pairs(data("mnist"))
    except ValueError as error:
        sys.stderr.write(f"air: {error}\n")
        return 2
    fields = {kind: displacements(networks, *images) for kind, images in pairs.items()}
    measured = {kind: {n: scores(*pairs[kind], u) for n, u in found.items()} for kind, found in fields.items()}
    record = header("air.py", chosen.threads, ("torch", "numpy"), trained=chosen.models is not None) | {
        "pairs": {kind: len(fixed) for kind, (fixed, _) in pairs.items()},
        "models": {n: described(networks[n], path) | cost(networks[n], *pairs["random"]) for n, path in files.items()},
        **summary(measured),
    }
    path = chosen.figures / "air_test.json"
    write(path, record)
    picture = chosen.figures.parent / "air.png"
    write_picture(picture, {kind: _some(pairs[kind], fields[kind], _SHOWN[kind]) for kind in KINDS})
    print(f"written: {path.name}, {picture.name}")
    return 0


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


def cost(network: RegistrationModel, fixed: Tensor, moving: Tensor) -> dict[str, float]:
    """Return a network's milliseconds of processor time, the median over some runs.

    ``ms_alone`` is that for one pair, ``ms_together`` that per pair of many at once.
    """
    alone = [_seconds(network, fixed[n : n + 1], moving[n : n + 1]) for n in range(_TIMED)]
    together = [_seconds(network, *part) / len(part[0]) for part in _parts(fixed, moving)]
    return {"ms_alone": 1000 * statistics.median(alone), "ms_together": 1000 * statistics.median(together)}


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


if __name__ == "__main__":
    sys.exit(main())
