"""The methods of the benchmark: which command each one is, and which files hold its transform afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogue import OURS, PROJECT

HERE = Path(__file__).resolve().parent
PEERS = PROJECT / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True)
class Task:
    """One pair to register.

    Attributes:
        fixed: image file.
        moving: image file.
        affine: ITK transform from fixed to moving points that every peer starts from.
        threads: how many each method may use.
    """

    fixed: Path
    moving: Path
    affine: Path
    threads: int


@dataclass(frozen=True)
class Method:
    """How to run one method.

    Attributes:
        title: how the table calls it.
        command: gives the command line for a task and an output folder.
        transforms: ITK files in the output folder whose chain maps fixed to moving points, first applied first.
        after_affine: it starts from ``Task.affine``, so the cost of the affine is added to its own.
    """

    title: str
    command: Callable[[Task, Path], list[str | Path]]
    transforms: tuple[str, ...]
    after_affine: bool = True


def _peer(script: str) -> Callable[[Task, Path], list[str | Path]]:
    return lambda task, out: [
        PEERS, HERE / script, task.fixed, task.moving, task.affine, out, str(task.threads)
    ]  # fmt: skip


def _register(*options: str) -> Callable[[Task, Path], list[str | Path]]:
    return lambda task, out: [
        OURS / "regcore", "register", task.fixed, task.moving, "-o", out, "-q", "--device", "cpu", *options
    ]  # fmt: skip


METHODS = {
    "affine": Method(
        "affine alone",
        lambda task, out: [OURS / "python", HERE / "affine_alone.py", task.fixed, task.moving, out],
        ("affine.h5",),
        after_affine=False,
    ),
    "regcore": Method(
        "regcore register",
        _register(),
        ("transform.h5",),
        after_affine=False,
    ),
    "greedy": Method("greedy, NCC 2x2x2, 100x50x20", _peer("peer_greedy.py"), ("warp.nii.gz", "../affine/affine.h5")),
    "demons": Method("diffeomorphic demons, 3 x 60", _peer("peer_demons.py"), ("warp.nii.gz", "../affine/affine.h5")),
    "ants": Method("ANTs SyNOnly, Mattes MI", _peer("peer_ants.py"), ("warp.nii.gz", "../affine/affine.h5")),
}


def methods_with(models: Sequence[str]) -> dict[str, Method]:
    """Return all methods by name: the affine, refinement alone, two for each model, and the peers."""
    found = {name: METHODS[name] for name in ("affine", "regcore")}
    for model in models:
        found |= {
            f"{model}-alone": Method(
                f"{model} alone", _register("--model", model, "--refine", "0"), ("transform.h5",), after_affine=False
            ),
            f"{model}-refined": Method(
                f"{model}, refine", _register("--model", model), ("transform.h5",), after_affine=False
            ),
        }
    return found | METHODS
