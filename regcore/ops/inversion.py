"""Newton's method for the inverse of a displacement, on those voxels that still need it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from regcore.ops.fields import gradient
from regcore.ops.pyramid import downsample_displacement
from regcore.ops.quick_sampling import sample_quickly
from regcore.ops.sampling import identity_coordinates
from regcore.ops.slabs import slabs

_LARGE = 1_000_000  # voxels
_CHUNK = 1 << 18  # voxels worked on together: what a processor's cache holds
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
        step: called before each part of the work with its number; it may raise to cancel.

    Returns:
        v, and the error ``|v + u(y + v)|`` that remains, ``(1, 1, *shape)``, both in voxels.
    """
    dim, shape = displacement.shape[1], displacement.shape[2:]
    here = identity_coordinates(shape, displacement).reshape(dim, -1)
    numbers = count()

    def ask() -> None:
        if step is not None:
            step(next(numbers))

    best = _swept(displacement, -displacement if initial is None else initial, ask).reshape(dim, -1)
    error = torch.empty_like(best[0])
    # The slope only steers the steps: half size does for large fields, at an eighth of the cost.
    factors = [2 if displacement[0, 0].numel() > _LARGE and n >= 32 else 1 for n in shape]
    coarse = downsample_displacement(displacement, factors)
    slope = gradient(coarse).reshape(1, dim * dim, *coarse.shape[2:])
    per_voxel = torch.tensor(factors, dtype=here.dtype, device=here.device)[:, None]
    for start in range(0, len(error), _CHUNK):
        ask()
        part = slice(start, start + _CHUNK)
        field = _Field(displacement, slope, per_voxel, here[:, part])
        best[:, part], error[part] = _solve(field, best[:, part], iterations, tolerance)
    return best.reshape(1, dim, *shape), error.reshape(1, 1, *shape)


def _swept(displacement: Tensor, inverse: Tensor, ask: Callable[[], None]) -> Tensor:
    """Take one step at every voxel, Newton's but for one thing: for most it is enough.

    ``I + dv/dy`` stands for ``(I + du/dx)^-1``, which it is once v is the inverse: a stencil costs less than to look
    du/dx up at ``y + v``.
    """
    swept = torch.empty_like(inverse)
    for slab in slabs(inverse.shape[2:], reach=1):
        ask()
        mine = inverse[:, :, slab.rows]
        there = mine + identity_coordinates(mine.shape[2:], mine)
        there[:, 0] += slab.rows.start
        residual = mine + sample_quickly(displacement, there)
        slope = gradient(inverse[:, :, slab.outer])[:, :, :, slab.inner]
        step = residual + (slope * residual[:, None]).sum(2)
        swept[:, :, slab.rows] = mine - _shortened(step, 1)
    return swept


def _shortened(step: Tensor, axis: int) -> Tensor:
    length = step.square().sum(axis, keepdim=True).sqrt_()
    return step * (_LONGEST_STEP / length.clamp_min_(_LONGEST_STEP))


class _Field(NamedTuple):
    """What Newton's method asks of the displacement, for some of the voxels."""

    displacement: Tensor
    slope: Tensor
    per_voxel: Tensor  # voxels of the field per voxel of the slope
    here: Tensor

    def residual(self, which: Tensor | slice, inverse: Tensor) -> Tensor:
        return inverse + _at(self.displacement, self.here[:, which] + inverse)

    def newton(self, which: Tensor, inverse: Tensor, residual: Tensor) -> Tensor:
        there = (self.here[:, which] + inverse + 0.5) / self.per_voxel - 0.5
        return _newton(_at(self.slope, there), residual)


def _solve(field: _Field, best: Tensor, iterations: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Iterate on those voxels whose round trip does not close yet."""
    left = field.residual(slice(None), best)
    error = left.square().sum(0).sqrt_()
    active = (error > tolerance).nonzero()[:, 0]
    damping = torch.ones_like(error)
    for _ in range(iterations):
        if not len(active):
            break
        trial = best[:, active]
        trial = trial - damping[active] * field.newton(active, trial, left[:, active])
        residual = field.residual(active, trial)
        length = residual.square().sum(0).sqrt_()
        # A step that made things worse is not taken, and tried again at half its length.
        better = length < error[active]
        taken = active[better]
        best[:, taken], left[:, taken], error[taken] = trial[:, better], residual[:, better], length[better]
        damping[active] = torch.where(better, 1.0, damping[active] * 0.5)
        active = active[error[active] > tolerance]
    return best, error


def _at(data: Tensor, coordinates: Tensor) -> Tensor:
    """Sample ``(1, C, *shape)`` at a list of points ``(D, n)``; returns ``(C, n)``."""
    dim = len(coordinates)
    values = sample_quickly(data, coordinates.reshape(1, dim, *[1] * (dim - 1), -1))
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
    return _shortened(solved / determinant.clamp_min(_LEAST_DETERMINANT), 0)
