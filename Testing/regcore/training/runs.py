"""Tiny training runs for tests, in this process or in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

TINY = """
seed: 3
model: {name: pan, options: {channels: 1}}
data:
  kind: shapes
  shapes: {size: [16, 16, 16], shapes: [3, 5], pairs_held_out: 1}
loss:
  - {name: soft_dice, weight: 1.0}
  - {name: diffusion, weight: 0.5}
optimiser: {name: adam, rate: 0.002, schedule: cosine, warm_up: 2, ema: 0.8, clip: 1.0}
run: {steps: 8, validate_every: 3, checkpoint_every: 2, log_every: 1, device: cpu, threads: 1, pictures: false}
"""


def write_config(folder: Path, text: str = TINY) -> Path:
    """Return the path of a configuration with this text."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def command(*words: object) -> subprocess.Popen:
    """Start ``regcore-train`` in a process of its own."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    line = [sys.executable, "-m", "regcore.training.command", *map(str, words)]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a checkpoint."""
    return dict(torch.load(checkpoint, weights_only=True)["state_dict"])


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
