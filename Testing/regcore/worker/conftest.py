"""One worker for many tests, and pairs of small volumes for it."""

from __future__ import annotations

import pytest
import torch

from regcore.image import Image

from .process import Worker


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """A worker that has said hello; the networks of `faulty_worker` are among its models."""
    made = Worker(environment={"REGCORE_MODELS": str(tmp_path_factory.mktemp("own"))}).ready()
    yield made
    made.close()
    assert made.process.returncode == 0


@pytest.fixture(scope="session")
def pair(awkward_grids):
    """A fixed and a moving image on turned, anisotropic, flipped and shifted grids."""
    return textured(awkward_grids["mirrored"]), textured(awkward_grids["rotated"], 2.0)


def textured(grid, moved_mm=0.0):
    """Return a round object with waves in it, moved along x."""
    points = grid.points() - torch.tensor([-30.0, 12.0, 105.0], dtype=torch.float64)
    points[..., 0] -= moved_mm
    inside = torch.exp(-(points**2).sum(-1) / (2 * 9.0**2))
    return Image((100 * inside * (1.3 + torch.sin(points / 3).prod(-1))).float(), grid)
