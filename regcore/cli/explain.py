"""`regcore explain`: what a network looked at, as volumes and a page with pictures; here of the rigid ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from jsonargparse import ArgumentParser, Namespace

from regcore import __version__
from regcore.checks import check_inputs, check_model
from regcore.cli import explain_deformable
from regcore.cli.wording import described, whole_numbers
from regcore.deformable_explanation import DRAWS
from regcore.explain import NUMBERS, Target
from regcore.explain_report import write_explanation
from regcore.explanation import Explanation, explain
from regcore.image import Image
from regcore.io import read_image, read_labels, read_transform, write_image
from regcore.models.attention_reg import AttentionReg
from regcore.network_grid import MOST_VOXELS
from regcore.outputs import staged
from regcore.preprocess import Inputs, gland_of
from regcore.rigid import register_rigid
from regcore.rigid_step import linear_start, organ_start
from regcore.transform import AffineTransform
from regcore.weights import Trained, all_models, find_model, load_trained

HELP = "show what a network looked at"

_ALL = "Grad-CAM differentiates the sum of the squares of the network's six numbers (mm and degrees)"
_ONE = "Grad-CAM differentiates {name}, so the map shows what raises it"
_OURS = "; which number to take is our choice, as the paper names none."
_LITTLE = 1.0  # mm and degrees


@dataclass(frozen=True)
class _Seen:
    """The network that is asked, the transform under which it looks, and where that came from."""

    network: AttentionReg
    transform: AffineTransform
    start: str
    stage: int


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(
        description="Write what a network looked at, and a report: of a rigid attention network Grad-CAM and attention "
        "maps, of a deformable network how much each place of both images counts for the displacement."
    )
    made.add_argument("fixed", type=Path, help="image file or DICOM folder")
    made.add_argument("moving", type=Path, help="image file or DICOM folder")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder for the results; made if absent")
    made.add_argument("--model", type=str, default="attention-reg", help="the network")
    made.add_argument(
        "--fixed-labels",
        type=Path | None,
        default=None,
        help="label map with the gland: a rigid network needs it; of a deformable one the maps' share in it is given",
    )
    made.add_argument(
        "--gland-labels", type=str | None, default=None, help="labels that count; default: rigid 1, deformable all"
    )
    made.add_argument(
        "--init",
        type=str | None,
        default=None,
        help="transform file: the network looks at the pair under it; deformable also none, centre, moments, rigid or "
        "affine; by default as `regcore register` does: rigid from the gland's centre in the middle of the moving "
        "volume, after the stages before; deformable affine",
    )
    made.add_argument(
        "--voxel",
        type=str | None,
        default=None,
        help="I,J,K of the fixed image: rigid, its attention as well; deformable, its displacement alone",
    )
    made.add_argument("--weights", type=Path | None, default=None, help="folder of weights from your own training")
    made.add_argument("--seed", type=int, default=0, help="of networks without trained weights, and of the draws")
    made.add_argument("-q", "--quiet", action="store_true", help="show nothing but errors")
    _add_rigid(made)
    _add_deformable(made)
    return made


def _add_rigid(made: ArgumentParser) -> None:
    made.add_argument(
        "--stage", type=int | None, default=None, help="rigid: whose network is asked; default: the last one"
    )
    made.add_argument(
        "--mode",
        type=Literal["activations", "weights"],
        default="activations",
        help="rigid: slope along the features (Grad-CAM), or along the weights of the convolution before (the paper's "
        "words)",
    )
    made.add_argument("--target", type=Literal["all", *NUMBERS], default="all", help="rigid: what is differentiated")


def _add_deformable(made: ArgumentParser) -> None:
    made.add_argument(
        "--spacing",
        type=float | None,
        default=None,
        help=f"deformable: voxel size (mm); default: the network's own, coarser beyond {MOST_VOXELS} voxels",
    )
    made.add_argument(
        "--draws",
        type=int | None,
        default=None,
        help=f"deformable: random signs of the estimate; default: {DRAWS[3]}, of 2D images {DRAWS[2]}",
    )
    made.add_argument(
        "--device", type=str | None, default=None, help="deformable: auto (the default), cpu, cuda or cuda:N"
    )


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    if chosen.model == "none":
        raise ValueError(f"model: only networks can be explained; choose from {', '.join(all_models())}, got none")
    rigid = find_model(chosen.model).kind == "rigid"
    _check_kind(chosen, "rigid" if rigid else "deformable")
    if rigid:
        _run_rigid(chosen)
    else:
        explain_deformable.run(chosen)


def _check_kind(chosen: Namespace, kind: str) -> None:
    """Refuse options of the other kind of network."""
    of_rigid = {
        "stage": chosen.stage is not None,
        "mode": chosen.mode != "activations",
        "target": chosen.target != "all",
    }
    of_deformable = {name: chosen[name] is not None for name in ("spacing", "draws", "device")}
    for name, given in (of_deformable if kind == "rigid" else of_rigid).items():
        if given:
            raise ValueError(f"{name}: {chosen.model} is a {kind} network, which has no such option; leave it out")


def _run_rigid(chosen: Namespace) -> None:
    voxel = None if chosen.voxel is None else whole_numbers(chosen.voxel, "voxel", "30,32,24")
    values = [1] if chosen.gland_labels is None else whole_numbers(chosen.gland_labels, "gland-labels", "1,2")
    target: Target = "all" if chosen.target == "all" else NUMBERS.index(chosen.target)
    with staged(chosen.output) as folder:
        inputs = _inputs(chosen, values)
        torch.manual_seed(chosen.seed)
        trained = load_trained(chosen.model, chosen.weights)
        seen = _seen(chosen, inputs, trained)
        found = explain(seen.network, inputs, seen.transform, mode=chosen.mode, target=target, voxel=voxel)
        summary = _summary(chosen, inputs, trained, seen, found) | {"voxel": voxel, "gland_labels": values}
        _write(folder, summary, found, inputs)
    if not chosen.quiet:
        sys.stdout.write(_table(found) + f"\nReport: {chosen.output / 'explain.html'}\n")


def _inputs(chosen: Namespace, values: list[int]) -> Inputs:
    fixed, moving = read_image(chosen.fixed, "fixed"), read_image(chosen.moving, "moving")
    check_model(chosen.model, fixed.dim)
    if chosen.fixed_labels is None:
        raise ValueError("fixed-labels: the network looks at the gland's crop; pass labels with the gland as label 1")
    gland = gland_of(read_labels(chosen.fixed_labels, "fixed-labels"), "fixed-labels", values)
    inputs = Inputs(fixed, moving, fixed_gland=gland)
    check_inputs(inputs)
    return inputs


def _seen(chosen: Namespace, inputs: Inputs, trained: Trained) -> _Seen:
    """Return the network to ask and the transform it looks through."""
    networks = [network for network in trained.networks if isinstance(network, AttentionReg)]
    stage = len(networks) if chosen.stage is None else chosen.stage
    if not 1 <= stage <= len(networks):
        raise ValueError(f"stage: expected 1 to {len(networks)}, as {trained.name} was trained, got {stage}")
    if chosen.init is not None:
        given = linear_start(read_transform(chosen.init, inputs.fixed.grid, "init"))
        return _Seen(networks[stage - 1], given, Path(chosen.init).name, stage)
    gland = cast(Image, inputs.fixed_gland)
    start = organ_start(gland, inputs.moving)
    if stage == 1:
        return _Seen(networks[0], start, "organ", stage)
    reached = register_rigid(networks, inputs.fixed, inputs.moving, gland, start, stages=stage - 1).transform
    return _Seen(networks[stage - 1], reached, f"organ, then stage {stage - 1}", stage)


def _summary(chosen: Namespace, inputs: Inputs, trained: Trained, seen: _Seen, found: Explanation) -> dict[str, object]:
    """Return the content of explain.json."""
    shares = {"fixed": found.share_in_gland(found.fixed), "moving": found.share_in_gland(found.moving)}
    return {
        "version": __version__,
        "model": chosen.model,
        "network": trained.name,
        "weights": dict(trained.files) or None,
        "fixed_input": seen.network.convention.fixed_input,
        "stage": seen.stage,
        "stages": len(trained.networks),
        "mode": chosen.mode,
        "target": chosen.target,
        "target_note": (_ALL if chosen.target == "all" else _ONE.format(name=chosen.target)) + _OURS,
        "start": seen.start,
        "transform": seen.transform.homogeneous.tolist(),
        "numbers": found.numbers,
        "crop": {"size": list(found.crop.size), "extent_mm": list(found.crop.extent)},
        "in_gland": {**shares, "even": found.gland_share},
        "warnings": _warnings(chosen, trained, found, shares),
        "fixed": described(chosen.fixed, inputs.fixed),
        "moving": described(chosen.moving, inputs.moving),
    }


def _warnings(chosen: Namespace, trained: Trained, found: Explanation, shares: Mapping[str, float | None]) -> list[str]:
    """Return what a reader of the maps should know."""
    said = [trained.warning] if trained.warning else []
    said += [
        f"The map of the {name} branch is empty: nothing it sees raises the target."
        for name, share in shares.items()
        if share is None
    ]
    # The slope of a sum of squares vanishes with the numbers, and each map is stretched to its own range.
    if chosen.target == "all" and max(map(abs, found.numbers.values())) < _LITTLE:
        said.append(
            f"The network finds less than {_LITTLE:g} mm and degree missing, so the maps of all six numbers say "
            "little: ask for one number with --target, or an earlier stage with --stage."
        )
    return said


def _write(folder: Path, summary: dict[str, object], found: Explanation, inputs: Inputs) -> None:
    for name, volume in found.volumes(inputs.fixed.grid, inputs.moving.grid).items():
        write_image(volume, folder / f"{name}.nii.gz")
    text = json.dumps(summary, indent=2, allow_nan=False)
    (folder / "explain.json").write_text(text + "\n", encoding="utf-8")
    write_explanation(folder, summary, found, inputs)


def _table(found: Explanation) -> str:
    rows = [(name, f"{value:.2f} {'mm' if name[0] == 't' else 'degrees'}") for name, value in found.numbers.items()]
    for side, image in (("fixed", found.fixed), ("moving", found.moving)):
        share = found.share_in_gland(image)
        rows.append((f"{side} map in gland", "empty" if share is None else f"{100 * share:.0f} %"))
    rows.append(("an even map", f"{100 * found.gland_share:.0f} %"))
    return "\n".join(f"{name:24}{value:>16}" for name, value in rows)
