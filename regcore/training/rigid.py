"""Fit a rigid network on cases with a known transform, with fresh starts and a fresh anatomy at every step.

Reference: Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, section 2.3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from regcore.atomic import replacing
from regcore.data.rigid_batches import PLAIN, Batch, RigidSampler, Variety
from regcore.data.rigid_cases import RigidCase
from regcore.data.ultrasound_augmentation import IntensityAugmentation
from regcore.models import create_model
from regcore.models.base import RigidModel
from regcore.ops.rigid import apply_matrix, mean_displacement, rigid_inverse, rigid_matrix, rigid_parameters

Loss = Literal["points", "parameters"]

_EMA_DECAY = 0.998
_WARM_UP = 100  # steps
_VALIDATION_STARTS = 20  # per case
_POINT_SOFTNESS_MM = 0.5


@dataclass(frozen=True)
class RigidTraining:
    """What to fit and how.

    Attributes:
        model: a rigid network's registered name.
        sre_mm: range of the starts' surface registration error.
        steps: updates of the weights.
        batch: samples per step.
        rate: highest learning rate; it rises for 100 steps and falls to 0 along a cosine.
        weight_decay: of AdamW.
        dropout: before the fully connected layers.
        loss: ``points``, the mean distance on the gland's surface that remains (what is measured in the end), or
            ``parameters``, the paper's mean square of the six numbers.
        every: steps between looks at the validation cases and checkpoints.
        seed: of weights and samples.
        low_precision: convolutions in bfloat16.
    """

    model: str
    sre_mm: tuple[float, float] = (0.0, 20.0)
    steps: int = 3000
    batch: int = 16
    rate: float = 1e-3
    weight_decay: float = 1e-3
    dropout: float = 0.1
    loss: Loss = "points"
    every: int = 200
    seed: int = 0
    low_precision: bool = True


@dataclass(frozen=True)
class Progress:
    """How far training is: ``sre_mm`` is the validation cases' mean after one pass, from ``start_mm``."""

    step: int
    loss: float
    start_mm: float
    sre_mm: float
    seconds: float


def fit_rigid(
    training: RigidTraining,
    cases: Sequence[RigidCase],
    validation: Sequence[RigidCase],
    checkpoint: Path | None = None,
    start: RigidModel | None = None,
    report: Callable[[Progress], None] | None = None,
    device: torch.device | str = "cpu",
) -> RigidModel:
    """Fit a network and return it, its weights averaged over the last steps, in evaluation mode.

    Args:
        training: see `RigidTraining`.
        cases: to learn from.
        validation: only looked at; nothing is chosen by them.
        checkpoint: file to go on from if it is there, written now and then; removed by nobody.
        start: network whose weights to begin with.
        report: told at every look at the validation cases.
        device: where the network runs.
    """
    torch.manual_seed(training.seed)
    model = _make(training, start).to(device, memory_format=torch.channels_last_3d)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(_EMA_DECAY), use_buffers=True)
    optimiser = torch.optim.AdamW(model.parameters(), training.rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, training.steps))
    state = _State(model, average, optimiser, schedule)
    done = state.load(checkpoint) if checkpoint is not None and checkpoint.exists() else 0
    sampler, intensities = _samples(training, model, cases, done)
    held_out = _held_out(training, model, validation)
    began, losses = time.monotonic(), 0.0
    for step in range(done + 1, training.steps + 1):
        losses += _update(state, _augmented(sampler.draw(training.batch), intensities, model), training, device)
        if step % training.every == 0 or step == training.steps:
            if checkpoint is not None:
                state.save(checkpoint, step)
            if report is not None:
                before, after = evaluate(average.module, held_out, device) if held_out else (math.nan, math.nan)
                since = min(training.every, step - done)
                report(Progress(step, losses / since, before, after, time.monotonic() - began))
            losses = 0.0
    fitted: RigidModel = average.module
    return fitted.eval()


def evaluate(model: RigidModel, batches: Sequence[Batch], device: torch.device | str = "cpu") -> tuple[float, float]:
    """Return the mean surface registration error (mm) before and after one pass of the network."""
    model.eval()
    before, after = [], []
    for batch in batches:
        with torch.inference_mode():
            found = model(batch.fixed.to(device), batch.moving.to(device), batch.side_mm.to(device)).cpu()
        left = batch.residual @ rigid_inverse(rigid_matrix(found))
        before.append(batch.start_sre)
        after.append(mean_displacement(left, batch.surface))
    return float(torch.cat(before).mean()), float(torch.cat(after).mean())


def _make(training: RigidTraining, start: RigidModel | None) -> RigidModel:
    model = create_model(training.model, dropout=training.dropout)
    if not isinstance(model, RigidModel):
        raise ValueError(f"model: {training.model} does not find a rigid transform")
    if start is not None:
        model.load_state_dict(start.state_dict())
    return model


def _samples(
    training: RigidTraining, model: RigidModel, cases: Sequence[RigidCase], done: int
) -> tuple[RigidSampler, IntensityAugmentation]:
    # A resumed run draws on from another seed, not the first samples once more.
    seed = training.seed * 1_000_003 + done
    sampler = RigidSampler(
        cases, model.input_size, model.convention.fixed_input, training.sre_mm, Variety(), seed=seed
    )
    return sampler, IntensityAugmentation(seed + 1)


def _held_out(training: RigidTraining, model: RigidModel, cases: Sequence[RigidCase]) -> list[Batch]:
    sampler = RigidSampler(cases, model.input_size, model.convention.fixed_input, training.sre_mm, PLAIN, seed=99)
    return [sampler.draw_from([case] * _VALIDATION_STARTS) for case in cases]


def _augmented(batch: Batch, intensities: IntensityAugmentation, model: RigidModel) -> Batch:
    change = intensities.gland if model.convention.fixed_input == "label" else intensities.mri
    return batch._replace(fixed=change(batch.fixed), moving=intensities.ultrasound(batch.moving))


def _update(state: _State, batch: Batch, training: RigidTraining, device: torch.device | str) -> float:
    state.model.train()
    batch = Batch(*(part.to(device) for part in batch))
    with torch.autocast(batch.fixed.device.type, torch.bfloat16, enabled=training.low_precision):
        found = state.model(batch.fixed, batch.moving, batch.side_mm)
    loss = rigid_loss(found.float(), batch, training.loss)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
    state.optimiser.step()
    state.schedule.step()
    state.average.update_parameters(state.model)
    return float(loss.detach())


def rigid_loss(found: Tensor, batch: Batch, loss: Loss) -> Tensor:
    """Return the loss of predictions ``(N, 6)``, a scalar; see `RigidTraining`."""
    if loss == "parameters":
        return (found - rigid_parameters(batch.residual)).square().mean()
    left = apply_matrix(rigid_inverse(rigid_matrix(found)), batch.surface)
    apart = left - apply_matrix(rigid_inverse(batch.residual), batch.surface)
    return (apart.square().sum(dim=2) + _POINT_SOFTNESS_MM**2).sqrt().mean()


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


@dataclass
class _State:
    """All that a run goes on from."""

    model: RigidModel
    average: AveragedModel
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR

    def save(self, path: Path, step: int) -> None:
        parts = {"model": self.model, "average": self.average, "optimiser": self.optimiser, "schedule": self.schedule}
        content = {name: part.state_dict() for name, part in parts.items()}
        with replacing(path) as temporary:
            torch.save({**content, "step": step}, temporary)

    def load(self, path: Path) -> int:
        content = torch.load(path, weights_only=True)
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.schedule.load_state_dict(content["schedule"])
        return int(content["step"])
