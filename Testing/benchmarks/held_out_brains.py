"""Networks alone on brains they have not seen: label maps 15 and 16, synthesised as in training.

Each pair is drawn by the data source of the configuration, with seeds that no training uses, and registered both ways.
Once both images are T1-like, once they have one random contrast, once each has one of its own; Dice before is that of
the drawn pair, whose structures are affinely brought together and then bent.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from catalogue import PROJECT
from jsonargparse import ArgumentParser
from table import as_text

from regcore.data.batch import PairBatch
from regcore.data.synthesis.label_source import LabelOptions, LabelSource
from regcore.metrics import dsc, folding_percent
from regcore.models import RegistrationModel
from regcore.ops.fields import jacobian_determinant
from regcore.ops.sampling import warp
from regcore.training.config import Config
from regcore.weights import find_model, load_trained

# Share of images in T1, share of pairs with equal contrasts.
CONTRASTS = {"T1-like": (1.0, 1.0), "random, one for both": (0.0, 1.0), "random, each its own": (0.0, 0.0)}
HEADING = ["model", "contrast", "pairs", "Dice before", "network alone", "gain", "least gain", "folding %"]
_FIRST_SEED = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0, or 2 when something that is needed is missing."""
    chosen = _parse(arguments)
    torch.set_num_threads(chosen.threads)
    data = Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "brain"
    maps = [data / f"labels_{n}.nii.gz" for n in (15, 16)]
    try:
        record = {name: _measured(name, read_options(chosen.config), maps, chosen.pairs) for name in chosen.models}
    except ValueError as error:
        sys.stderr.write(f"held_out_brains: {error}\n")
        return 2
    print(as_text(rows(record)))
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "held_out_brains.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {chosen.output}/held_out_brains.json")
    return 0


def _measured(model: str, options: LabelOptions, maps: Sequence[Path], pairs: int) -> dict[str, Any]:
    """Return the model's voxel size, the grid and, by contrast, the figures of each pair."""
    network = cast(RegistrationModel, load_trained(model, dimensions=3).networks[0])
    spacing = find_model(model, dimensions=3).default_spacing_mm
    options = held_out(options, maps, spacing)
    found = {name: figures(network, options, shares, pairs) for name, shares in CONTRASTS.items()}
    return {"spacing_mm": spacing, "size": list(options.size), "figures": found}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="deformable ones")
    parser.add_argument("--config", type=Path, default=PROJECT / "Resources" / "configs" / "pan_brain.yaml")
    parser.add_argument("--pairs", type=int, default=8, help="of each contrast, each both ways (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "bench" / "held-out-brains")
    return parser.parse_args(arguments)


def read_options(config: Path) -> LabelOptions:
    """Return how a configuration of `regcore-train` makes pairs of label maps."""
    parser = ArgumentParser()
    parser.add_class_arguments(Config, nested_key=None, as_group=False)
    return cast(LabelOptions, parser.instantiate(parser.parse_path(config)).data.labels)


def held_out(options: LabelOptions, maps: Sequence[Path], spacing_mm: float) -> LabelOptions:
    """Return the same with other maps, and the grid in the network's voxels over the same space."""
    size = tuple(round(n * options.spacing_mm / spacing_mm) for n in options.size)
    return replace(options, maps=tuple(map(str, maps)), held_out=(), size=size, spacing_mm=spacing_mm)


def figures(
    network: RegistrationModel, options: LabelOptions, shares: tuple[float, float], pairs: int
) -> list[dict[str, float]]:
    """Return Dice before and after and folding of each pair, one way and back.

    Args:
        network: a deformable one.
        options: see `held_out`.
        shares: of images in the known contrast, and of pairs whose images have the same one.
        pairs: how many to draw.

    Raises:
        ValueError: a map is missing.
    """
    known, same = shares
    intensities = replace(options.intensities, same_contrast=same)
    source = LabelSource(replace(options, contrast_share=known, intensities=intensities), _FIRST_SEED)
    found = []
    for number in range(pairs):
        pair = source.draw([number], torch.device("cpu"))
        back = PairBatch(pair.moving, pair.fixed, pair.moving_labels, pair.fixed_labels)
        found += [_figures(network, way, source.labels) for way in (pair, back)]
    return found


def rows(record: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the table: means over the pairs, the least gain beside them."""
    table = [HEADING]
    for model, measured in record.items():
        for contrast, many in measured["figures"].items():
            start, end, folded = (
                statistics.fmean(one[key] for one in many) for key in ("before", "after", "folding_percent")
            )
            gains = [f"{end - start:+.3f}", f"{min(one['after'] - one['before'] for one in many):+.3f}"]
            table.append([model, contrast, str(len(many)), f"{start:.3f}", f"{end:.3f}", *gains, f"{folded:.4f}"])
    return table


def _figures(network: RegistrationModel, pair: PairBatch, labels: Sequence[int]) -> dict[str, float]:
    assert pair.fixed_labels is not None
    assert pair.moving_labels is not None
    with torch.inference_mode():
        displacement = network(pair.fixed, pair.moving).displacement.float()
    warped = warp(pair.moving_labels[:, None].float(), displacement, "nearest")[:, 0].round().long()
    ways = {"before": pair.moving_labels, "after": warped}
    dice = {name: _mean(dsc(pair.fixed_labels[0], way[0], labels)) for name, way in ways.items()}
    return dice | {"folding_percent": folding_percent(jacobian_determinant(displacement))}


def _mean(scores: dict[int, float]) -> float:
    """Of the structures that either map has."""
    return statistics.fmean(score for score in scores.values() if score == score)


if __name__ == "__main__":
    sys.exit(main())
