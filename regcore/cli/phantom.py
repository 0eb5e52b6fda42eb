"""`regcore phantom`: pairs with exactly known truth, to try things on."""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from regcore.data.phantoms import list_phantoms, make_phantom, write_phantom
from regcore.data.phantoms.cine import cine_series, write_cine_series

HELP = "write a pair of images with known truth"


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(description="Write a generated pair with labels, landmarks and the true transform.")
    made.add_argument("kind", type=str, help=f"one of {', '.join(list_phantoms())}")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder for the files; made if absent")
    made.add_argument("--seed", type=int, default=0, help="another number, another pair")
    made.add_argument(
        "--frames", type=int | None, default=None, help="of cine: so many frames of a beat, one slice over time"
    )
    return made


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    if chosen.seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {chosen.seed}")
    if chosen.frames is None:
        write_phantom(make_phantom(chosen.kind, chosen.seed), chosen.output)
    elif chosen.kind == "cine":
        write_cine_series(cine_series(chosen.seed, chosen.frames), chosen.output)
    else:
        raise ValueError(f"frames: only the cine phantom moves over time, not {chosen.kind}; leave it out")
    sys.stdout.write(f"Wrote {chosen.kind} phantom (seed {chosen.seed}) to {chosen.output}\n")
