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
from regcore.training.model_file import MODEL
from regcore.training.rigid_goal import RigidGoal
from regcore.training.task import Task
from regcore.weights import Trained, all_models, load_file, load_trained, stored_models


def build(config: Config) -> tuple[Task, dict[str, object]]:
    """Return the task, and what is to be known of its data and of the weights it begins with.

    Raises:
        ValueError: naming what does not fit.
        regcore.checks.DeviceError: the device is not there.
    """
    device = choose_device(config.run.device)
    if config.run.precision == "16" and device.type == "cpu":
        raise ValueError("run.precision: 16 is for GPUs; choose bf16 or 32 on the CPU")
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
    model, start = _model(config, options)
    task = Task(config, cast(RegistrationModel, model), DeformableGoal(source, config.loss, device))
    return task, {
        **source.describe(),
        "spacing_mm": source.spacing_mm,
        "size": list(source.size),
        "fine_tune": start,
    }


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
    model, start = _model(config, dict(config.model.options))
    goal = RigidGoal(cast(RigidModel, model), options, cases, held_out, config.seed)
    known: dict[str, object] = {
        "kind": f"{len(cases)} pairs of MRI and transrectal ultrasound with gland masks and reference transforms",
        "cases": list(options.cases),
        "held_out": list(options.held_out),
        "sre_mm": list(options.sre_mm),
        "translation_mm": options.translation_mm,
        "rotation_deg": options.rotation_deg,
        "tilt_deg": options.tilt_deg,
        **({"synthetic": options.synthetic, "synthetic_shapes": options.synthetic_shapes} if options.synthetic else {}),
        "fine_tune": start,
    }
    return Task(config, model, goal), known


def _model(config: Config, options: dict[str, object]) -> tuple[Network, dict[str, str]]:
    """Return the network, and name and SHA-256 of the file whose weights it begins with; new ones have none."""
    chosen = config.model
    model = create_model(chosen.name, None, **options)
    if chosen.fine_tune is None:
        return model, {}
    trained = _trained(chosen.fine_tune, getattr(model, "dimensions", 3))
    stages = len(trained.networks)
    if not 1 <= chosen.fine_tune_stage <= stages:
        raise ValueError(f"model.fine_tune_stage: expected 1 to {stages}, got {chosen.fine_tune_stage}")
    place = chosen.fine_tune_stage - 1
    try:
        model.load_state_dict(trained.networks[place].state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"model.fine_tune: the weights of {chosen.fine_tune} do not fit {chosen.name} made so"
        ) from error
    return model, dict([list(trained.files.items())[place]])


def _trained(chosen: str, dimensions: int) -> Trained:
    """Return what a model's name, a model file or an earlier run's folder stands for."""
    if chosen in {*list_models(), *stored_models()}:
        trained = load_trained(chosen, dimensions=dimensions)
        if not trained.files:
            raise ValueError(f"model.fine_tune: {chosen} has no trained weights; leave it out to begin with new ones")
        return trained
    path = Path(chosen)
    if path.is_dir():
        path /= MODEL
        if not path.is_file():
            raise ValueError(f"model.fine_tune: there is no {MODEL} in {chosen}; has that run come to its end?")
    if not path.is_file():
        raise ValueError(
            f"model.fine_tune: expected a model file, a run's folder or one of {', '.join(all_models())}, got {chosen}"
        )
    return load_file(path)
