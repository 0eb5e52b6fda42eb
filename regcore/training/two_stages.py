"""Two networks for two stages: one for starts far off, one that begins with its weights for starts near by.

Reference: Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, section 2.3.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from regcore.data.rigid_cases import RigidCase
from regcore.models import save_model
from regcore.models.base import RigidModel
from regcore.training.rigid import Progress, RigidTraining, fit_rigid
from regcore.weights import load_trained, weight_files

_STARTS_MM = ((0.0, 20.0), (0.0, 8.0))
_RATES = (1e-3, 5e-4)


@dataclass(frozen=True)
class Job:
    """What is fitted, on what, and where the results go.

    Attributes:
        model: a rigid network's registered name.
        cases: to learn from.
        validation: only looked at; may be empty.
        steps: updates in stage 1 and in stage 2.
        seed: of stage 1; stage 2 takes the next one.
        output: folder, made if need be; gets ``MODEL.stage1.safetensors``, ``MODEL.stage2.safetensors`` and a
            checkpoint of each.
        device: where the networks run.
        start: trained model of the same input size that each stage begins with, such as the label variant for the
            image variant: it has learned the ultrasound. None: new weights, and stage 2 begins with those of stage 1.
    """

    model: str
    cases: Sequence[RigidCase]
    validation: Sequence[RigidCase]
    steps: tuple[int, int]
    seed: int
    output: Path
    device: torch.device
    start: str | None = None

    def stages(self) -> list[RigidTraining]:
        """Return how the two stages are fitted."""
        both = enumerate(zip(_STARTS_MM, self.steps, _RATES, strict=True))
        return [
            RigidTraining(self.model, sre_mm=starts, steps=steps, rate=rate, seed=self.seed + number)
            for number, (starts, steps, rate) in both
        ]


def fit_stages(job: Job, say: Callable[[str], None]) -> list[Path]:
    """Fit both stages and save them, with a summary of the training in each file's notes.

    A run that was stopped goes on from the checkpoints that it left.

    Args:
        job: see `Job`.
        say: told one line at every look at the validation cases.

    Returns:
        The two files of weights.

    Raises:
        ValueError: as `fit_rigid`, or the folder or a file cannot be written.
    """
    stages = job.stages()
    try:
        job.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output: the folder {job.output} cannot be made: {error.strerror or error}") from error
    paths: list[Path] = []
    model: RigidModel | None = None
    for number, training in enumerate(stages, start=1):
        paths.append(job.output / f"{job.model}.stage{number}.safetensors")
        model = _fit(job, training, paths[-1], _start(job, number) or model, say)
    return paths


def _start(job: Job, stage: int) -> RigidModel | None:
    """Return the trained network that a stage begins with: from the output folder, else one that is shipped."""
    if job.start is None:
        return None
    networks = load_trained(job.start, job.output if weight_files(job.start, job.output) else None).networks
    model = networks[min(stage, len(networks)) - 1]
    if not isinstance(model, RigidModel):
        raise ValueError(f"start: {job.start} does not find a rigid transform")
    return model


def _fit(
    job: Job, training: RigidTraining, path: Path, start: RigidModel | None, say: Callable[[str], None]
) -> RigidModel:
    looks: list[Progress] = []

    def report(progress: Progress) -> None:
        looks.append(progress)
        say(f"{path.stem}: {_line(progress, training.steps)}")

    checkpoint = path.with_suffix(".checkpoint")
    model = fit_rigid(training, job.cases, job.validation, checkpoint, start, report, job.device)
    save_model(model, path, {"training": json.dumps(_summary(job, training, looks[-1]), sort_keys=True)})
    return model


def _line(progress: Progress, steps: int) -> str:
    parts = [f"step {progress.step} of {steps}"]
    if math.isfinite(progress.loss):
        parts.append(f"loss {progress.loss:.3f}")
    if math.isfinite(progress.sre_mm):
        parts.append(f"validation {progress.start_mm:.2f} mm -> {progress.sre_mm:.2f} mm")
    return ", ".join([*parts, f"{progress.seconds:.0f} s"])


def _summary(job: Job, training: RigidTraining, last: Progress) -> dict[str, object]:
    looked = math.isfinite(last.sre_mm)
    return {
        "data": f"{len(job.cases)} pairs of MRI and transrectal ultrasound with gland masks and reference transforms",
        "cases": [case.name for case in job.cases],
        "validation_cases": [case.name for case in job.validation],
        "validation_sre_mm": {"start": last.start_mm, "after_one_pass": last.sre_mm} if looked else None,
        "steps": last.step,
        "seconds": round(last.seconds, 3),
        "device": job.device.type,
        "start": job.start,
        "torch": torch.__version__,
        "options": asdict(training),
    }
