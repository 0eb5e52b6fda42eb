"""Half precision with a scaled loss as far as the CPU can show it: refused by the command, sound in its steps."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins.precision.amp import MixedPrecision

from regcore.training.build import build
from regcore.training.command import main
from regcore.training.config import Config, LossTerm, ModelConfig, OptimiserConfig, RunConfig
from regcore.training.data import DataConfig, ShapeOptions

from .runs import write_config


def test_the_command_refuses_it_on_the_cpu(tmp_path, capsys):
    words = [str(write_config(tmp_path)), "-o", str(tmp_path / "run"), "-q", "--run.precision", "16"]
    assert main(words) == 2
    assert "run.precision: 16 is for GPUs; choose bf16 or 32 on the CPU" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")  # of Lightning's, on loaders and workers
@pytest.mark.parametrize("scale", [2.0**10, 2.0**40], ids=["fits", "overflows"])
def test_steps_with_a_scaled_loss(scale):
    """A scale that overflows costs the step, not the run; the weights stay finite and the average follows them."""
    config = Config(
        model=ModelConfig("pan", {"channels": 1}),
        data=DataConfig("shapes", shapes=ShapeOptions(size=(16, 16, 16), pairs_held_out=1)),
        loss=[LossTerm("soft_dice"), LossTerm("diffusion")],
        optimiser=OptimiserConfig("sgd", rate=0.1, ema=0.5),
        run=RunConfig(steps=3, device="cpu"),
    )
    task, _ = build(config)
    before = [weights.detach().clone() for weights in task.model.parameters()]
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=3,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        limit_val_batches=0,
    )
    trainer.fit(task)
    after = list(task.model.parameters())
    assert all(bool(weights.isfinite().all()) for weights in after)
    moved = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert moved == (scale == 2.0**10)
    assert scaler.get_scale() == (scale if moved else scale / 2**3)
    assert all(bool(weights.isfinite().all()) for weights in task.result.parameters())
