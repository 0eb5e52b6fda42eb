"""The files of one registration, all written together or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from regcore.io import write_image, write_transform
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
