"""A training run as Lightning sees it: numbered samples in, a loss out, a running average of the weights beside."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from regcore.data.batch import generator
from regcore.models.base import Network
from regcore.training.config import Config, OptimiserConfig

SCORE = "score"


class Goal(Protocol):
    """What a network is trained for: where its samples come from, its loss, and how it is judged."""

    def loss(self, model: Network, numbers: list[int], device: torch.device) -> tuple[Tensor, dict[str, Tensor], float]:
        """Return the loss of some samples, its parts by name, and the seconds that drawing the samples took."""
        ...

    def judge(self, model: Network, device: torch.device) -> dict[str, float]:
        """Return figures of the held-out pairs by name; `SCORE` among them, the higher the better; empty: no pairs."""
        ...

    def pictures(self, model: Network, device: torch.device) -> Mapping[str, Tensor]:
        """Return pictures ``(3, H, W)`` of held-out pairs by name, [0, 1]."""
        ...


class Task(pl.LightningModule):
    """A network, its goal, and the running average of its weights.

    Args:
        config: of the run.
        model: the network.
        goal: see `Goal`.
    """

    def __init__(self, config: Config, model: Network, goal: Goal) -> None:
        super().__init__()
        self.config, self.goal, self.model = config, goal, model
        self.average: AveragedModel | None = None
        if config.optimiser.ema > 0:
            decay = get_ema_multi_avg_fn(config.optimiser.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(model, multi_avg_fn=decay, use_buffers=True)
            self.average.requires_grad_(False)
        self.figures: dict[str, float] = {}
        self.drawing = 0.0  # seconds, of ``self.training_seconds``; of this process, since it began
        self.training_seconds = 0.0
        self._began = 0.0
        self._part, self._at_step = 0, -1

    @property
    def result(self) -> Network:
        """The network that counts: the average, or the network itself where there is none."""
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        """Draw the next samples and return their loss."""
        numbers = self._numbers()
        # Dropout and the like, too, depend on the sample alone.
        torch.manual_seed(generator(self.config.seed, numbers[0]).initial_seed() ^ 1)
        loss, parts, seconds = self.goal.loss(self.model, numbers, self.device)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=1)
        self.log_dict({f"loss/{name}": value.detach() for name, value in parts.items()}, batch_size=1)
        self.drawing += seconds
        return loss

    def on_train_batch_start(self, batch: Tensor, index: int) -> None:
        """Start the clock of a step."""
        self._began = time.perf_counter()

    def on_train_batch_end(self, outputs: Any, batch: Tensor, index: int) -> None:
        """Stop it; the held-out pairs come later."""
        self.training_seconds += time.perf_counter() - self._began

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop at gradients that would spoil the weights."""
        length = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if not math.isfinite(length) and self.trainer.precision != "16-mixed":
            raise ValueError(
                f"optimiser.rate: the gradients are no longer finite at step {self.global_step}; lower the rate and "
                "go on from the last checkpoint"
            )

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Take the new weights into the average at once: callbacks that save a checkpoint run before later hooks."""
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def validation_step(self, batch: Tensor, index: int) -> None:
        """Judge the network by the held-out pairs."""
        with torch.inference_mode():
            self.figures = self.goal.judge(self.result.eval(), self.device)
        self.result.train(self.training)
        self.log_dict({f"held_out/{name}": value for name, value in self.figures.items()}, batch_size=1)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and the schedule of its rate, by the step."""
        chosen, steps = self.config.optimiser, self.config.run.steps
        optimiser = _optimiser(chosen, self.model)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_at(step, steps, chosen))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Any:
        """Return an endless clock: which samples a step sees follows from its number."""
        return DataLoader(_Clock(), batch_size=None)

    def val_dataloader(self) -> Any:
        """Return a single tick: the goal knows the held-out pairs."""
        return DataLoader([0], batch_size=None)  # type: ignore[arg-type]

    def _numbers(self) -> list[int]:
        """Return the numbers of this process's next samples."""
        if self.global_step != self._at_step:
            self._part, self._at_step = 0, self.global_step
        run, world = self.config.run, self.trainer.world_size
        share = run.batch * run.accumulate
        first = (self.global_step * world + self.global_rank) * share + self._part * run.batch
        self._part += 1
        return list(range(first, first + run.batch))


class _Clock(IterableDataset[int]):
    """Ticks without end."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


def rate_at(step: int, steps: int, chosen: OptimiserConfig) -> float:
    """Return what the learning rate is multiplied by at a step."""
    rise = min(1.0, (step + 1) / chosen.warm_up) if chosen.warm_up else 1.0
    done = min(1.0, step / max(1, steps))
    if chosen.schedule == "cosine":
        return rise * 0.5 * (1 + math.cos(math.pi * done))
    if chosen.schedule == "polynomial":
        return float(rise * (1 - done) ** chosen.power)
    if chosen.schedule == "drops":
        return float(rise * chosen.drop_factor ** sum(done >= share for share in chosen.drops))
    return rise


def _optimiser(chosen: OptimiserConfig, model: nn.Module) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if chosen.name == "sgd":
        return torch.optim.SGD(parameters, chosen.rate, momentum=0.9, weight_decay=chosen.weight_decay)
    kind = torch.optim.Adam if chosen.name == "adam" else torch.optim.AdamW
    return kind(parameters, chosen.rate, weight_decay=chosen.weight_decay, amsgrad=chosen.amsgrad)
