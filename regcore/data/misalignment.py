"""Wrong starts of a known size, to train and to test rigid registration.

Reference: Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, section 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from regcore.ops.rigid import mean_displacement, rigid_matrix

TRANSLATION_MM, ROTATION_DEG = 5.0, 6.0  # the paper's; its code has them the other way round

_MOST_SCALE = 5.0  # beyond it a small perturbation was stretched into a wild one: drawn again
_SECANT_STEPS = 8
_TOLERANCE_MM = 0.02
_MOST_DRAWS = 50


class Misalignment(NamedTuple):
    """Rigid perturbations and how large they came out.

    Attributes:
        matrix: ``(N, 4, 4)``, to be applied after the true transform.
        sre: ``(N,)``, surface registration error they cause (mm).
    """

    matrix: Tensor
    sre: Tensor


def misalign(
    points: Tensor,
    wanted: Tensor,
    generator: torch.Generator | None = None,
    *,
    translation_mm: float = TRANSLATION_MM,
    rotation_deg: float = ROTATION_DEG,
) -> Misalignment:
    """Draw perturbations of few millimetres and degrees and stretch each to a wanted surface registration error.

    Args:
        points: ``(N, P, 3)``, the organ's surface relative to the rotation centre (mm).
        wanted: ``(N,)`` mm, 0 or more.
        generator: of the random numbers.
        translation_mm: most along each axis before the stretching; with ``rotation_deg`` it says which of the two
            makes up the error.
        rotation_deg: most about each axis, likewise.

    Returns:
        Perturbations within 0.05 mm of ``wanted``, float64.

    Raises:
        ValueError: a wanted size below 0, or one that no perturbation of these points has.
    """
    if not bool((wanted >= 0).all()):
        raise ValueError(f"wanted: expected errors of 0 mm or more, got {float(wanted.min())} mm")
    points, wanted = points.double(), wanted.double()
    limits = torch.tensor([translation_mm] * 3 + [rotation_deg] * 3, dtype=torch.float64)
    scaled = torch.zeros(len(wanted), 6, dtype=torch.float64)
    todo = torch.ones(len(wanted), dtype=torch.bool)
    for _ in range(_MOST_DRAWS):
        rows = todo.nonzero()[:, 0]
        raw = _draw(len(rows), limits, generator)
        factor = _factor(raw, points[rows], wanted[rows])
        scaled[rows] = raw * factor[:, None]
        error = mean_displacement(rigid_matrix(scaled[rows]), points[rows]) - wanted[rows]
        todo[rows] = (error.abs() > _TOLERANCE_MM) | (factor > _MOST_SCALE)
        if not bool(todo.any()):
            matrix = rigid_matrix(scaled)
            return Misalignment(matrix, mean_displacement(matrix, points))
    most = float(wanted[todo].max())
    raise ValueError(f"wanted: no rigid perturbation of this surface has an error of {most:.1f} mm; ask for less")


def _draw(count: int, limits: Tensor, generator: torch.Generator | None) -> Tensor:
    return (2 * torch.rand(count, 6, dtype=torch.float64, generator=generator) - 1) * limits


def _factor(raw: Tensor, points: Tensor, wanted: Tensor) -> Tensor:
    """Return what to multiply all six numbers with, by secant steps from the linear guess."""

    def excess(factor: Tensor) -> Tensor:
        return mean_displacement(rigid_matrix(raw * factor[:, None]), points) - wanted

    before, factor = torch.zeros_like(wanted), wanted / mean_displacement(rigid_matrix(raw), points).clamp_min(1e-9)
    was, now = excess(before), excess(factor)
    for _ in range(_SECANT_STEPS):
        slope = (now - was) / (factor - before).where(factor != before, torch.ones_like(factor))
        step = (now / slope.where(slope.abs() > 1e-6, torch.ones_like(slope))).nan_to_num(0.0)
        before, was = factor, now
        factor = (factor - step).clamp(0.0, 4 * _MOST_SCALE)
        now = excess(factor)
    return factor
