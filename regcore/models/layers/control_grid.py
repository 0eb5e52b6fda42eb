"""From a coarse grid of control values to a dense field, by one small matrix per axis.

Written as transposed convolutions, the same sums take many times longer on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# A cubic B-spline field whose control values stay below this many spacings along every axis does not fold.
# Choi and Lee give 1 / 2.0464 = 0.488 in two dimensions and 1 / 2.4795 = 0.403 in three.
INJECTIVE = 0.4


def bspline_field(control: Tensor, spacing: int, size: Sequence[int]) -> Tensor:
    """Return the uniform cubic B-spline with these control values at the voxels of a grid.

    Control point i lies in the middle of voxels ``spacing i .. spacing (i + 1) - 1``; beyond the grid of
    control points each one at the edge is repeated, so that equal values give that value everywhere.

    Args:
        control: ``(N, C, *points)``.
        spacing: of the control points, voxels.
        size: of the dense grid; usually at most ``spacing * points``.

    Returns:
        ``(N, C, *size)``. Displacements of less than `INJECTIVE` spacings give a field that does not fold.

    Reference:
        Rueckert et al.: Nonrigid registration using free-form deformations, IEEE TMI 1999; Choi, Lee:
        Injectivity conditions of 2D and 3D uniform cubic B-spline functions, Graphical Models 2000.
    """
    where = [(torch.arange(n, dtype=torch.float64) + 0.5) / spacing - 0.5 for n in size]
    return _expand(control, where, _bspline)


def cubic_field(control: Tensor, size: Sequence[int]) -> Tensor:
    """Return the control values interpolated cubically, the corners of both grids on each other.

    In two dimensions this is `torch.nn.functional.interpolate`, bicubic with ``align_corners=True``, which
    does not exist in three.

    Args:
        control: ``(N, C, *points)``.
        size: of the dense grid.

    Returns:
        ``(N, C, *size)``.

    Reference:
        Keys: Cubic convolution interpolation for digital image processing, IEEE TASSP 1981, with a = -3/4.
    """
    where = [
        torch.arange(n, dtype=torch.float64) * ((points - 1) / max(n - 1, 1))
        for n, points in zip(size, control.shape[2:], strict=True)
    ]
    return _expand(control, where, _keys)


def _expand(control: Tensor, where: Sequence[Tensor], kernel: Callable[[Tensor], Tensor]) -> Tensor:
    for coordinates, points in zip(where, control.shape[2:], strict=True):
        matrix = _weights(coordinates, points, kernel).to(control)
        # Takes the first spatial axis away and appends the dense one: after all of them the order is restored.
        control = torch.tensordot(control, matrix, dims=([2], [1]))
    return control


def _weights(where: Tensor, points: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``(len(where), points)``: what each control point adds at these coordinates, in control points."""
    matrix = where.new_zeros(len(where), points)
    for offset in range(-1, 3):
        index = where.floor() + offset
        nearest = index.long().clamp(0, points - 1)
        matrix.scatter_add_(1, nearest[:, None], kernel((where - index).abs())[:, None])
    return matrix


def _bspline(distance: Tensor) -> Tensor:
    near = 2 / 3 - distance**2 + distance**3 / 2
    return torch.where(distance < 1, near, (2 - distance) ** 3 / 6)


def _keys(distance: Tensor) -> Tensor:
    a = -0.75
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    return torch.where(distance < 1, near, a * (distance**3 - 5 * distance**2 + 8 * distance - 4))
