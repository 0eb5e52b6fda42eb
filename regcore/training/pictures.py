"""Example pictures in TensorBoard at every look at the held-out pairs."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger

from regcore.training.task import Task


class Pictures(pl.Callback):
    """Shows what `Goal.pictures` draws.

    Args:
        board: where to.
    """

    def __init__(self, board: TensorBoardLogger) -> None:
        self.board = board

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw with the weights that count."""
        assert isinstance(module, Task)
        if not trainer.is_global_zero:
            return
        writer: Any = self.board.experiment
        for name, picture in module.goal.pictures(module.result.eval(), module.device).items():
            writer.add_image(name, picture, trainer.global_step)
        module.result.train(module.training)
