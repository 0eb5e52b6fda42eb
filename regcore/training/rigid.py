"""Fit a rigid network on cases with a known transform, with fresh starts and a fresh anatomy at every step.

Reference: Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, section 2.3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from regcore.data.rigid_batches import PLAIN, Batch, RigidSampler, Variety
from regcore.data.rigid_cases import RigidCase
from regcore.data.ultrasound_augmentation import IntensityAugmentation
from regcore.losses import rigid_parameters_mse
from regcore.models import create_model, list_models
from regcore.models.base import RigidModel
from regcore.ops.rigid import apply_matrix, mean_displacement, rigid_inverse, rigid_matrix, rigid_parameters
from regcore.training._state import State, averaged

Loss = Literal["points", "parameters"]

_EMA_DECAY = 0.998
_WARM_UP = 100  # steps
_VALIDATION_STARTS = 20  # per case
_POINT_SOFTNESS_MM = 0.5
_LONGEST_GRADIENT = 5.0


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

    Raises:
        ValueError: a count below 1, a rate that is not positive, or an unknown loss.
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

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if not self.rate > 0:
            raise ValueError(f"rate: expected a positive learning rate such as 1e-3, got {self.rate}")
        if self.loss not in get_args(Loss):
            raise ValueError(f"loss: expected {' or '.join(get_args(Loss))}, got {self.loss}")


@dataclass(frozen=True)
class Progress:
    """How far training is.

    Attributes:
        step: updates done.
        loss: mean since the last look; nan if no step was needed.
        start_mm: mean error of the validation cases' starts; nan without such cases.
        sre_mm: what one pass of the averaged network leaves of it.
        seconds: since the start of training, interruptions left out.
    """

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
        report: told at every look at the validation cases; once if the checkpoint is that of a finished run.
        device: where the network runs.

    Raises:
        ValueError: a model that is not rigid, no cases, weights to start from that do not fit, or a checkpoint that is
            damaged or of a run with other settings or cases.
    """
    torch.manual_seed(training.seed)
    state = _begin(_make(training, start), training, device)
    settings = asdict(training) | {"cases": [case.name for case in cases]}
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, settings)
    finished = state.step >= training.steps
    sampler, intensities = _samples(training, state.model, cases, state.step)
    held_out = _held_out(training, state.model, validation) if validation else []
    began, losses = time.monotonic() - state.seconds, list[float]()
    for step in range(state.step + 1, training.steps + 1):
        batch = _augmented(sampler.draw(training.batch), intensities, state.model)
        losses.append(_update(state, batch, training, device, step))
        if step % training.every == 0 or step == training.steps:
            state.step, state.seconds = step, time.monotonic() - began
            if checkpoint is not None:
                state.save(checkpoint, settings)
            if report is not None:
                report(_look(state, losses, held_out, device))
            losses = []
    if finished and report is not None:
        report(_look(state, [], held_out, device))
    return state.averaged.eval()


def _begin(model: RigidModel, training: RigidTraining, device: torch.device | str) -> State:
    model = model.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(model.parameters(), training.rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, training.steps))
    return State(model, averaged(model, _EMA_DECAY), optimiser, schedule)


def _look(state: State, losses: Sequence[float], held_out: Sequence[Batch], device: torch.device | str) -> Progress:
    before, after = evaluate(state.averaged, held_out, device) if held_out else (math.nan, math.nan)
    return Progress(state.step, fmean(losses) if losses else math.nan, before, after, state.seconds)


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
    able = list_models(kind="rigid")
    if training.model not in able:
        raise ValueError(f"model: expected a rigid network, {' or '.join(able)}, got {training.model}")
    model = cast(RigidModel, create_model(training.model, dropout=training.dropout))
    if start is not None:
        try:
            model.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise ValueError(f"start: its weights do not fit {training.model}; start from the same network") from error
    return model


def _samples(
    training: RigidTraining, model: RigidModel, cases: Sequence[RigidCase], done: int
) -> tuple[RigidSampler, IntensityAugmentation]:
    # A resumed run draws on from another seed, not the first samples once more.
    seed = training.seed * 1_000_003 + done
    sampler = RigidSampler(cases, model.input_size, model.convention.fixed_input, training.sre_mm, Variety(), seed=seed)
    return sampler, IntensityAugmentation(seed + 1)


def _held_out(training: RigidTraining, model: RigidModel, cases: Sequence[RigidCase]) -> list[Batch]:
    sampler = RigidSampler(cases, model.input_size, model.convention.fixed_input, training.sre_mm, PLAIN, seed=99)
    return [sampler.draw_from([case] * _VALIDATION_STARTS) for case in cases]


def _augmented(batch: Batch, intensities: IntensityAugmentation, model: RigidModel) -> Batch:
    change = intensities.gland if model.convention.fixed_input == "label" else intensities.mri
    return batch._replace(fixed=change(batch.fixed), moving=intensities.ultrasound(batch.moving))


def _update(state: State, batch: Batch, training: RigidTraining, device: torch.device | str, step: int) -> float:
    state.model.train()
    batch = Batch(*(part.to(device) for part in batch))
    with torch.autocast(batch.fixed.device.type, torch.bfloat16, enabled=training.low_precision):
        found = state.model(batch.fixed, batch.moving, batch.side_mm)
    loss = rigid_loss(found.float(), batch, training.loss)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    length = torch.nn.utils.clip_grad_norm_(state.model.parameters(), _LONGEST_GRADIENT)
    if not math.isfinite(length):
        raise ValueError(
            f"rate: the gradients are no longer finite at step {step}; lower the rate and go on from the checkpoint"
        )
    state.optimiser.step()
    state.schedule.step()
    state.average.update_parameters(state.model)
    return float(loss.detach())


def rigid_loss(found: Tensor, batch: Batch, loss: Loss) -> Tensor:
    """Return the loss of predictions ``(N, 6)``, a scalar; see `RigidTraining`."""
    if loss == "parameters":
        return rigid_parameters_mse(found, rigid_parameters(batch.residual))
    left = apply_matrix(rigid_inverse(rigid_matrix(found)), batch.surface)
    apart = left - apply_matrix(rigid_inverse(batch.residual), batch.surface)
    return (apart.square().sum(dim=2) + _POINT_SOFTNESS_MM**2).sqrt().mean()


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
