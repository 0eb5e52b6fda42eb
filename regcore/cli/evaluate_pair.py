"""One pair of a cohort, in whatever process: registered, measured, and written down for good."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from jsonargparse import Namespace

from regcore.checks import check_chain
from regcore.cli.choices import has_rigid, initial_of, inputs_of, truth_of
from regcore.cohort.identity import REPORT, TRANSFORM, fingerprint, finished
from regcore.cohort.results import write_json
from regcore.cohort.table import OPTIONAL, Case
from regcore.cohort.workers import Outcome
from regcore.io import read_image, silence_itk, write_transform
from regcore.pipeline import register
from regcore.progress import CancelCheck, Cancelled, Progress
from regcore.settings import Settings
from regcore.summary import summarise


@dataclass(frozen=True)
class Plan:
    """What is done to every pair.

    Attributes:
        settings: of the registration.
        init: as on the command line; a file is named in full.
        gland_labels: as on the command line.
        folder: each pair gets a folder in it.
    """

    settings: Settings
    init: str
    gland_labels: str
    folder: Path

    @property
    def fixed_labels_alone(self) -> bool:
        """Whether labels of the fixed image are of use without those of the moving one."""
        return has_rigid(self.settings) or "organ" in (self.settings.init or self.init)


def evaluate_pair(plan: Plan, case: Case, cancelled: CancelCheck, progress: Progress | None = None) -> Outcome:
    """Register a pair unless that was done before with the same files and settings.

    Raises:
        regcore.progress.Cancelled: ``cancelled`` returned true; nothing of this pair was written.
    """
    silence_itk()
    folder = plan.folder / case.id
    try:
        identity = fingerprint(case, plan.settings, plan.init, plan.gland_labels)
        before = finished(folder, identity)
        if before is not None:
            return Outcome(case.id, before, anew=False)
        report = _registered(plan, case, identity, cancelled, progress)
    except Cancelled:
        raise
    except Exception as error:
        # Whatever it is, hundreds of other pairs must not be lost to it.
        _forget(folder)
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return Outcome(case.id, failure=" ".join(case.anonymous(said).replace(str(plan.folder), "").split()))
    return Outcome(case.id, report)


def _registered(
    plan: Plan, case: Case, identity: str, cancelled: CancelCheck, progress: Progress | None
) -> dict[str, Any]:
    fixed, moving = read_image(case.files["fixed"], "fixed"), read_image(case.files["moving"], "moving")
    settings = plan.settings
    check_chain(settings, fixed.dim)
    files = _as_options(plan, case)
    truth = truth_of(files, fixed, alone=plan.fixed_labels_alone)
    given = "none" if case.still else case.files.get("initial_transform", plan.init)
    start, asked = initial_of(str(given), fixed, truth)
    settings = replace(settings, init=asked or settings.init)
    inputs = inputs_of(files, fixed, moving, truth, settings)
    result = register(inputs, settings, start=start, progress=progress, cancelled=cancelled)
    report = summarise(result, inputs, settings, truth)
    for side in ("fixed", "moving"):
        cast(dict[str, object], report[side])["file"] = case.files[side].name
    # The process's own clock: it counts the pairs before this one too.
    del report["cpu_seconds"]
    report |= {"id": case.id, "fingerprint": identity}
    folder = plan.folder / case.id
    folder.mkdir(parents=True, exist_ok=True)
    write_transform(result.transform, folder / TRANSFORM)
    # The report comes last: with it the pair is done.
    write_json(report, folder / REPORT)
    return report


def _as_options(plan: Plan, case: Case) -> Namespace:
    """Return a pair's files as `regcore register` gets them from its command line."""
    made = Namespace()  # type: ignore[no-untyped-call]
    options: dict[str, object] = {name: case.files.get(name) for name in OPTIONAL}
    for name, value in (options | {"true_transform": None, "gland_labels": plan.gland_labels}).items():
        setattr(made, name, value)
    return made


def _forget(folder: Path) -> None:
    """Remove an earlier result, made from other files or settings: it would pass for this run's."""
    with contextlib.suppress(OSError):
        for name in (REPORT, TRANSFORM):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
