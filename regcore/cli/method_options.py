"""The options that say how pairs are registered, the same for one pair and for many."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from regcore.presets import list_presets
from regcore.settings import Quality


def add_method_options(made: ArgumentParser, init_note: str = "") -> None:
    """Add what `regcore.cli.choices.settings_of` reads, ``--init`` and ``--gland-labels``.

    Args:
        made: the command's parser.
        init_note: what else is to be known of ``--init``.
    """
    made.add_argument("--model", type=str, default="none", help="model, see `regcore models`; none: refinement alone")
    made.add_argument(
        "--stages",
        type=str | None,
        default=None,
        help="models and refine joined by commas, in the place of --model: each goes on from what those before found, "
        "as in attention-reg,caml,refine",
    )
    made.add_argument(
        "--preset",
        type=str | None,
        default=None,
        help=f"stages and start that suit a kind of pair: {', '.join(list_presets())}, or a JSON file of your own",
    )
    made.add_argument(
        "--slicewise",
        type=bool | None,
        default=None,
        help="true: slice by slice, nothing moving between slices; default: where the model is for 2D images and the "
        "slices are thick",
    )
    made.add_argument(
        "--init",
        type=str,
        default="auto",
        help="none, centre, moments, rigid, affine, landmarks, organ (the fixed gland's centre to the middle of the "
        "moving volume), labels (the glands' outlines) or a transform file; two joined by a comma go on from the "
        f"first, as in centre,affine; auto: affine, or organ for a rigid model{init_note}",
    )
    made.add_argument(
        "--refine", type=int | None, default=None, help="iterations on the pair itself; 0 switches it off"
    )
    made.add_argument(
        "--quality",
        type=Quality,
        default="balanced",
        help="of deformable refinement: fast stops at half the resolution, best takes twice the iterations",
    )
    made.add_argument(
        "--similarity",
        type=Literal["auto", "lncc", "mind", "mi"],
        default="auto",
        help="what refinement compares; auto: by correlation; mi: for rigid models",
    )
    made.add_argument("--gland-labels", type=str, default="1", help="labels that make up the gland, for rigid models")
    made.add_argument("--weights", type=Path | None, default=None, help="folder of weights, looked into first")
    made.add_argument("--passes", type=int | None, default=None, help="of a rigid model; default: 4 with two networks")
    made.add_argument("--ensemble", type=int, default=8, help="runs of a rigid model, for its spread; 1: one run")
    made.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    made.add_argument("--seed", type=int, default=0, help="of the ensemble, and of networks without trained weights")
