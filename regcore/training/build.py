"""From a configuration to a network, its goal and the task that Lightning runs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from regcore.checks import choose_device
from regcore.data.rigid_cases import read_cases
from regcore.models import create_model, list_models, model_info
from regcore.models.base import Network, RegistrationModel, RigidModel
from regcore.training.config import Config
from regcore.training.data import make_source
from regcore.training.deformable_goal import DeformableGoal
from regcore.training.rigid_goal import RigidGoal
from regcore.training.task import Task
from regcore.weights import load_trained


def build(config: Config) -> tuple[Task, dict[str, object]]:
    """Return the task, and what is to be known of its data.

    Raises:
        ValueError: naming what does not fit.
        regcore.checks.DeviceError: the device is not there.
    """
    device = choose_device(config.run.device)
    name = config.model.name
    if name not in list_models():
        raise ValueError(f"model.name: expected one of {', '.join(list_models())}, got {name}")
    torch.manual_seed(config.seed)
    if model_info(name).kind == "rigid":
        return _rigid(config)
    source = make_source(config.data, config.seed)
    if source.dimensions not in model_info(name).dimensions:
        able = " or ".join(f"{d}D" for d in model_info(name).dimensions)
        raise ValueError(f"data: {name} registers {able} images, these are {source.dimensions}D; choose another size")
    options = dict(config.model.options)
    if len(model_info(name).dimensions) > 1:
        options.setdefault("dimensions", source.dimensions)
    model = cast(RegistrationModel, _model(config, options))
    task = Task(config, model, DeformableGoal(source, config.loss, device))
    return task, {**source.describe(), "spacing_mm": source.spacing_mm, "size": list(source.size)}


def _rigid(config: Config) -> tuple[Task, dict[str, object]]:
    options = config.data.rigid
    if config.data.kind != "rigid":
        raise ValueError(f"data.kind: {config.model.name} finds a rigid transform and learns from rigid")
    if config.loss:
        raise ValueError("loss: that of a rigid network is data.rigid.loss; leave the list out")
    both = sorted(set(options.cases) & set(options.held_out))
    if both:
        raise ValueError(f"data.rigid.held_out: {both[0]} is among the cases to learn from; leave it out of one")
    folder = Path(options.folder)
    cases, held_out = read_cases(folder, options.cases), read_cases(folder, options.held_out)
    model = cast(RigidModel, _model(config, dict(config.model.options)))
    goal = RigidGoal(model, options, cases, held_out, config.seed)
    known: dict[str, object] = {
        "kind": f"{len(cases)} pairs of MRI and transrectal ultrasound with gland masks and reference transforms",
        "cases": list(options.cases),
        "held_out": list(options.held_out),
    }
    return Task(config, model, goal), known


def _model(config: Config, options: dict[str, object]) -> Network:
    model = create_model(config.model.name, None, **options)
    if config.model.fine_tune is None:
        return model
    networks = load_trained(config.model.fine_tune, dimensions=getattr(model, "dimensions", 3)).networks
    place = config.model.fine_tune_stage
    if not 1 <= place <= len(networks):
        raise ValueError(f"model.fine_tune_stage: expected 1 to {len(networks)}, got {place}")
    try:
        model.load_state_dict(networks[place - 1].state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"model.fine_tune: the weights of {config.model.fine_tune} do not fit {config.model.name} made so"
        ) from error
    return model
