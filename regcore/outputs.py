"""The files of one registration, all written together or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regcore.io import write_image, write_transform
from regcore.landmarks import Landmarks, write_landmarks
from regcore.pipeline import Registration
from regcore.preprocess import Inputs
from regcore.report import write_report
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield an empty folder whose files move into ``folder`` at the end; on any error nothing is left behind.

    Raises:
        ValueError: ``folder`` cannot be made or written.
    """
    made: list[Path] = []
    staging: Path | None = None
    try:
        try:
            made = _make(folder)
            staging = Path(tempfile.mkdtemp(prefix=".registering-", dir=folder))
        except OSError as error:
            raise ValueError(f"output: cannot write to {folder}: {error.strerror or error}") from error
        yield staging
        for path in sorted(staging.iterdir()):
            path.replace(folder / path.name)
        made = []
    except OSError as error:
        raise ValueError(f"output: cannot write to {folder}: {error.strerror or error}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()


def write_registration(result: Registration, inputs: Inputs, summary: Mapping[str, object], folder: Path) -> None:
    """Write transform, inverse, warped image, Jacobian map, report.json and report.html into ``folder``.

    Raises:
        ValueError: a file cannot be written, or there is too little room for all of them.
    """
    _check_room(result, folder)
    write_transform(result.transform, folder / "transform.h5")
    if isinstance(result.transform, AffineTransform):
        write_transform(result.transform, folder / "transform.tfm")
    if result.inverse is not None:
        write_transform(result.inverse.transform, folder / "inverse_transform.h5")
    write_image(result.warped, folder / "warped.nii.gz")
    write_image(result.determinant, folder / "jacobian.nii.gz")
    text = json.dumps(summary, indent=2, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    write_report(folder, dict(summary), inputs.fixed, result.before, result.warped, result.determinant, result.field)


@dataclass(frozen=True)
class Targets:
    """Points to carry through a result.

    Attributes:
        points: mm, LPS.
        file: name of the file they came from; its ending says the format.
        in_fixed: they lie in the fixed image, else in the moving one.
    """

    points: Landmarks
    file: str
    in_fixed: bool


def write_targets(targets: Sequence[Targets], result: Registration, inputs: Inputs, folder: Path) -> list[str]:
    """Write each set of targets where it lies in the other image: ``targets_on_moving`` and ``targets_on_fixed``.

    Returns:
        A sentence for each set with points that fall outside the other image.

    Raises:
        ValueError: a file cannot be written, or the way back is not known.
    """
    sentences = []
    for target in targets:
        way = result.transform if target.in_fixed else result.inverse.transform if result.inverse else None
        if way is None:
            raise ValueError("moving-targets: the way back is needed to carry them to the fixed image")
        there = way(target.points.points)
        side, grid = ("moving", inputs.moving.grid) if target.in_fixed else ("fixed", inputs.fixed.grid)
        write_landmarks(Landmarks(there, target.points.labels), folder / f"targets_on_{side}{_ending(target.file)}")
        index = grid.to_index(there)
        outside = int((~((index >= -0.5) & (index <= np.asarray(grid.size) - 0.5)).all(axis=1)).sum())
        if outside:
            sentences.append(f"{outside} of {len(there)} targets fall outside the {side} image.")
    return sentences


def _ending(name: str) -> str:
    return ".mrk.json" if name.lower().endswith(".mrk.json") else Path(name).suffix


def _check_room(result: Registration, folder: Path) -> None:
    """Refuse before anything is written: on a full disk ITK's HDF5 library prints pages of its own."""
    transforms = [result.transform] + ([result.inverse.transform] if result.inverse is not None else [])
    parts = [p for t in transforms for p in (t.parts if isinstance(t, CompositeTransform) else (t,))]
    doubles = sum(part.field.data.numel() for part in parts if isinstance(part, DenseTransform))
    # Images are compressed, so this is on the safe side.
    needed = 8 * doubles + 4 * (result.determinant.data.numel() + result.warped.data.numel())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(f"output: the results need up to {needed >> 20} MiB, the disk has {free >> 20} MiB left")


def _make(folder: Path) -> list[Path]:
    """Make ``folder`` and its missing parents; return those that were missing, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing
