"""Checkpoints of a run: written whole or not at all, and which ones are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from regcore.atomic import replacing
from regcore.training.task import SCORE, Task

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name and renames it: a run killed at any moment leaves a readable one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint``; ``path`` is replaced in one step.

        Raises:
            ValueError: it cannot be written.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class Keeper(pl.Callback):
    """Saves the last state now and then, and the best one by the held-out pairs.

    Args:
        folder: for both.
        every: steps between states to go on from.
        validate_every: steps between looks at the held-out pairs.
    """

    def __init__(self, folder: Path, every: int, validate_every: int) -> None:
        self.folder, self.every, self.validate_every = folder, every, validate_every
        self.best: float | None = None
        self._saved = -1

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Save when enough steps were made; the parts of an accumulated step make none.

        Where the held-out pairs are due, they come first: a run that goes on from here would not look at them again.
        """
        if trainer.global_step % self.every == 0 and trainer.global_step % self.validate_every:
            self._save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the state as the best one if it is."""
        assert isinstance(module, Task)
        score = module.figures.get(SCORE)
        if score is not None and (self.best is None or score > self.best):
            self.best = score
            trainer.save_checkpoint(self.folder / BEST)
        if trainer.global_step % self.every == 0:
            self._save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save where it ended."""
        self._save_last(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return what has to be known to go on."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on."""
        self.best = state["best"]

    def _save_last(self, trainer: pl.Trainer) -> None:
        if trainer.global_step != self._saved:
            trainer.save_checkpoint(self.folder / LAST)
            self._saved = trainer.global_step
