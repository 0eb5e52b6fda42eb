"""One training run: checkpoints and logs in a folder; a stopped run goes on from its last checkpoint."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, RichProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from regcore.atomic import replacing
from regcore.checks import choose_device
from regcore.training.checkpoints import BEST, LAST, AtomicCheckpointIO, Keeper
from regcore.training.config import Config
from regcore.training.log import CsvLog
from regcore.training.pictures import Pictures
from regcore.training.task import SCORE, Task

CONFIG, LOG = "config.yaml", "log.csv"

_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}


def fit(task: Task, folder: Path, *, resume: bool = False, quiet: bool = False) -> Task:
    """Train until the last step, and return the task with the weights that are to be kept.

    Args:
        task: network, goal and configuration.
        folder: for checkpoints and logs; made if absent.
        resume: go on from the folder's last checkpoint, if there is one.
        quiet: show no progress.

    Raises:
        ValueError: a damaged checkpoint, or one of another network.
    """
    run = task.config.run
    if run.threads:
        torch.set_num_threads(run.threads)
    checkpoints = folder / "checkpoints"
    _tidy(checkpoints)
    last = checkpoints / LAST if resume and (checkpoints / LAST).is_file() else None
    log = CsvLog(folder / LOG)
    log.go_on_from(_step_of(last) if last else -1)
    keeper = Keeper(checkpoints, run.checkpoint_every, run.validate_every or run.steps)
    with _lightning_speaks_plainly():
        trainer = _trainer(task.config, folder, [log], keeper, quiet)
        try:
            trainer.fit(task, ckpt_path=str(last) if last else None, weights_only=True)
        except RuntimeError as error:
            if last is None or "state_dict" not in str(error):
                raise
            raise ValueError(f"resume: {LAST} belongs to another network than this configuration's") from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    best = checkpoints / BEST
    if run.keep == "best" and keeper.best is not None and best.is_file() and keeper.best > _score_now(task):
        task.load_state_dict(_read(best)["state_dict"])
    return task


def _score_now(task: Task) -> float:
    with torch.inference_mode():
        return task.goal.judge(task.result.eval(), task.device).get(SCORE, -math.inf)


def _trainer(config: Config, folder: Path, loggers: list[Logger], keeper: Keeper, quiet: bool) -> pl.Trainer:
    run = config.run
    device = choose_device(run.device)
    callbacks: list[Callback] = [keeper]
    if run.patience:
        callbacks.append(EarlyStopping(f"held_out/{SCORE}", patience=run.patience, mode="max", verbose=False))
    if run.pictures:
        board = TensorBoardLogger(folder, name="tensorboard", version="")
        loggers = [*loggers, board]
        callbacks.append(Pictures(board))
    if not quiet:
        callbacks.append(RichProgressBar())
    together = run.processes * run.nodes > 1
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=run.processes,
        num_nodes=run.nodes,
        strategy="ddp" if together else "auto",
        precision=_PRECISION[run.precision],
        max_steps=run.steps,
        max_epochs=-1,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=config.optimiser.clip or None,
        val_check_interval=(run.validate_every or run.steps) * run.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=run.log_every,
        logger=loggers,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=not quiet,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(
            f"resume: {path.name} is damaged ({type(error).__name__}); remove the folder's checkpoints to begin anew"
        ) from error


def _step_of(checkpoint: Path) -> int:
    return int(_read(checkpoint)["global_step"])


def _tidy(checkpoints: Path) -> None:
    """Remove what a killed run left half-written."""
    for path in checkpoints.glob(".*-*.ckpt"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file; it is replaced in one step."""
    with replacing(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")


@contextmanager
def _lightning_speaks_plainly() -> Iterator[None]:
    """Keep Lightning's advice on loaders and loggers, which do not apply here, off the screen."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            # A hint on speed that nobody can follow: the gradients of several processes lie otherwise in memory.
            warnings.filterwarnings("ignore", "Grad strides do not match")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
