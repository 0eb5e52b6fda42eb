"""Digits drawn as strokes: a few straight lines each, turned, stretched, shifted and thickened at random."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIDE = 28
# Polylines through (row, column), the digit's box being -1 .. 1.
SHAPES = [
    [(-1, 0), (-0.5, 0.6), (0.5, 0.6), (1, 0), (0.5, -0.6), (-0.5, -0.6), (-1, 0)],
    [(-0.6, -0.4), (-1, 0), (1, 0)],
    [(-0.7, -0.6), (-1, 0), (-0.7, 0.6), (1, -0.6), (1, 0.6)],
    [(-1, -0.6), (-1, 0.6), (-0.1, 0), (0.5, 0.6), (1, 0), (0.8, -0.6)],
    [(1, 0.3), (-1, 0.3), (0.3, -0.6), (0.3, 0.7)],
    [(-1, -0.6), (-1, 0.6), (1, -0.2)],
]


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Return ``(count, 1, 28, 28)``, values from 0 to 1."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    pixels = torch.stack([rows, columns], dim=-1).float() - (SIDE - 1) / 2
    images = []
    for _ in range(count):
        shape = torch.tensor(SHAPES[int(torch.randint(len(SHAPES), (), generator=generator))])
        angle, shear = between(-0.3, 0.3), between(-0.2, 0.2)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle) + shear, math.cos(angle)]])
        size = torch.tensor([between(7, 9.5), between(6, 9)])
        points = (shape * size) @ turn.T + torch.tensor([between(-2, 2), between(-2, 2)])
        thickness = between(1.2, 2.4)
        images.append((thickness + 0.5 - _distance(pixels, points)).clamp(0, 1))
    return torch.stack(images).unsqueeze(1)


def _distance(pixels: Tensor, points: Tensor) -> Tensor:
    """Return the distance of each of ``(H, W, 2)`` to the nearest segment between successive points."""
    start, along = points[:-1], points.diff(dim=0)
    offset = pixels[:, :, None] - start
    share = ((offset * along).sum(-1) / along.square().sum(-1)).clamp(0, 1)
    return torch.linalg.vector_norm(offset - share[..., None] * along, dim=-1).amin(-1)
