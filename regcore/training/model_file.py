"""What a training run ends with: one file with the network and all that is to be known of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch

from regcore import __version__
from regcore.models import Provenance, save_model
from regcore.training.task import Task

MODEL = "model.safetensors"  # in a run's folder

_LICENCE = "Apache-2.0"


def write_model(task: Task, data: Mapping[str, object], path: Path) -> str:
    """Save the network that counts, judged once more, and return its figures as lines of text.

    Args:
        task: after training.
        data: what it learned from; ``spacing_mm`` and ``size`` of it tell how it is to be run, ``fine_tune`` which
            file of weights it began with.
        path: of the file.
    """
    model = task.result.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        figures = {name: round(value, 6) for name, value in task.goal.judge(model, device).items()}
    config = task.config
    known = dict(data)
    spacing, size = known.pop("spacing_mm", None), known.pop("size", None)
    start = known.pop("fine_tune", None)
    # The rest of the time goes into the network.
    drawing = round(100 * task.drawing / max(task.training_seconds, 1e-9), 1)
    provenance = Provenance(
        spacing_mm=cast("float | None", spacing),
        size=tuple(cast("list[int]", size)) if size else None,
        training={
            "about": config.about,
            "steps": task.global_step,
            "seed": config.seed,
            "device": device.type,
            "loss": [asdict(term) for term in config.loss] or config.data.rigid.loss,
            "optimiser": asdict(config.optimiser),
            "batch": config.run.batch * config.run.accumulate * config.run.processes * config.run.nodes,
            "fine_tune": start or None,
            "drawing_percent": drawing,
            "torch": torch.__version__,
            "regcore": __version__,
        },
        data=known,
        metrics=figures,
        licence=_LICENCE,
    )
    save_model(model, path, provenance=provenance, half=config.run.half)
    lines = [f"{name:24}{value:>12.4f}\n" for name, value in (figures | {"drawing_percent": drawing}).items()]
    where = shlex.quote(str(path))
    return "".join([*lines, f"Model: {path}; to use it: regcore models import {where} --name NAME\n"])
