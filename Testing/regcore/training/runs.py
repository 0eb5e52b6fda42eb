"""Tiny training runs for tests, in this process or in one of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from regcore.grid import Grid
from regcore.image import Image
from regcore.io import write_image

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

IMAGES = """
  kind: images
  images: {size: [16, 16, 16], spacing_mm: 1.5, manifest: MANIFEST}
"""


def on_images(folder: Path, text: str = TINY) -> str:
    """Write a table of four subjects, one of them held out, and return the configuration of a run on them."""
    rows = ["id,image,labels,mask,split"]
    for number in range(4):
        grid = Grid.of((18, 16 + number, 14), (1.3, 1.4, 1.6))
        away = (grid.points() - torch.as_tensor(grid.centre) - number).norm(dim=-1)
        write_image(Image((-away / 9).exp().float(), grid), folder / f"{number}.nii.gz")
        for name, radius in (("labels", 6), ("mask", 11)):
            write_image(Image((away < radius).to(torch.uint8), grid, "uint8"), folder / f"{name}{number}.nii.gz")
        files = ",".join(f"{name}{number}.nii.gz" for name in ("", "labels", "mask"))
        rows.append(f"{number},{files},{'validation' if number == 3 else 'train'}")
    # A held-out pair needs two images.
    rows.append("4,3b.nii.gz,labels3.nii.gz,mask3.nii.gz,validation")
    shutil.copy(folder / "3.nii.gz", folder / "3b.nii.gz")
    (folder / "cohort.csv").write_text("\n".join(rows))
    before, _, after = text.partition("  kind: shapes\n")
    return before + IMAGES.strip("\n").replace("MANIFEST", str(folder / "cohort.csv")) + after[after.index("\nloss:") :]


def write_config(folder: Path, text: str = TINY) -> Path:
    """Return the path of a configuration with this text."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def command(*words: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    """Start ``regcore-train`` in a process of its own, or by a launcher's Python module."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    line = [sys.executable, *launcher, "-m", "regcore.training.command", *map(str, words)]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a checkpoint."""
    return dict(torch.load(checkpoint, weights_only=True)["state_dict"])


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
