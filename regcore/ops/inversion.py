"""Newton's method for the inverse of a displacement, on those voxels that still need it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from regcore.ops.fields import gradient
from regcore.ops.pyramid import downsample_displacement
from regcore.ops.sampling import identity_coordinates, sample

_LARGE = 1_000_000  # voxels
_LONGEST_STEP = 4.0  # voxels: keeps a step near a fold from leaving the neighbourhood it was computed in
_LEAST_DETERMINANT = 0.05


def invert(
    displacement: Tensor,
    iterations: int = 30,
    tolerance: float = 0.02,
    initial: Tensor | None = None,
    step: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Find v with ``v(y) + u(y + v(y)) = 0``.

    The usual fixed point ``v <- -u(y + v)`` stalls wherever the map stretches by more than two, which a shrinking
    ventricle does; Newton's step ``(I + du/dx)^-1`` does not.

    Args:
        displacement: u, ``(1, D, *shape)``, voxels; its edge values go on outside.
        iterations: most rounds.
        tolerance: a voxel is done once its round-trip error is below this (voxels).
        initial: where to start; ``-u`` unless told.
        step: called with the number of each round; it may raise to cancel.

    Returns:
        v, and the error ``|v + u(y + v)|`` that remains, ``(1, 1, *shape)``, both in voxels.
    """
    dim, shape = displacement.shape[1], displacement.shape[2:]
    here = identity_coordinates(shape, displacement).reshape(dim, -1)
    best = (-displacement if initial is None else initial).reshape(dim, -1).clone()
    left = best + _at(displacement, here + best)
    error = left.square().sum(0).sqrt_()
    active = (error > tolerance).nonzero()[:, 0]
    # The slope only steers the steps: half size does for large fields, at an eighth of the cost.
    factors = [2 if displacement[0, 0].numel() > _LARGE and n >= 32 else 1 for n in shape]
    coarse = downsample_displacement(displacement, factors)
    slope = gradient(coarse).reshape(1, dim * dim, *coarse.shape[2:])
    per_voxel = torch.tensor(factors, dtype=here.dtype, device=here.device)[:, None]
    damping = torch.ones_like(error)
    for iteration in range(iterations):
        if not len(active):
            break
        if step is not None:
            step(iteration)
        where = here[:, active]
        trial = best[:, active]
        there = (where + trial + 0.5) / per_voxel - 0.5
        trial = trial - damping[active] * _newton(_at(slope, there), left[:, active])
        residual = trial + _at(displacement, where + trial)
        length = residual.square().sum(0).sqrt_()
        # A step that made things worse is not taken, and tried again at half its length.
        better = length < error[active]
        taken = active[better]
        best[:, taken], left[:, taken], error[taken] = trial[:, better], residual[:, better], length[better]
        damping[active] = torch.where(better, 1.0, damping[active] * 0.5)
        active = active[error[active] > tolerance]
    return best.reshape(1, dim, *shape), error.reshape(1, 1, *shape)


def _at(data: Tensor, coordinates: Tensor) -> Tensor:
    """Sample ``(1, C, *shape)`` at a list of points ``(D, n)``; returns ``(C, n)``."""
    dim = len(coordinates)
    values = sample(data, coordinates.reshape(1, dim, *[1] * (dim - 1), -1), padding="border")
    return values.reshape(values.shape[1], -1)


def _newton(slope: Tensor, residual: Tensor) -> Tensor:
    """Solve ``(I + slope) step = residual`` at each of n points; ``slope`` is ``(D * D, n)``, row-major."""
    dim = len(residual)
    matrix = slope.reshape(dim, dim, -1).clone()
    for axis in range(dim):
        matrix[axis, axis] += 1
    if dim == 2:
        determinant = matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
        solved = torch.stack(
            (
                matrix[1, 1] * residual[0] - matrix[0, 1] * residual[1],
                matrix[0, 0] * residual[1] - matrix[1, 0] * residual[0],
            )
        )
    else:
        columns = matrix.unbind(1)
        cross = [torch.linalg.cross(columns[a], columns[b], dim=0) for a, b in ((1, 2), (2, 0), (0, 1))]
        determinant = (columns[0] * cross[0]).sum(0)
        solved = torch.stack([(residual * c).sum(0) for c in cross])
    solved = solved / determinant.clamp_min(_LEAST_DETERMINANT)
    length = solved.square().sum(0).sqrt()
    return solved * (_LONGEST_STEP / length.clamp_min(_LONGEST_STEP))
