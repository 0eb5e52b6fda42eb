"""Vector-field algebra on bare tensors: compose, exponentiate, invert, Jacobian determinant.

Fields are ``(N, D, *shape)``, in voxels of their own grid, component order = axis order, pull convention
``warped(x) = moving(x + u(x))``. Outside the grid a field keeps its edge value.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from regcore.ops.sampling import warp


def compose(first: Tensor, then: Tensor) -> Tensor:
    """Return the displacement of ``x -> then(first(x))``: ``first(x) + then(x + first(x))``."""
    return first + warp(then, first, padding="border")


def exp(velocity: Tensor, steps: int | None = None) -> Tensor:
    """Integrate a stationary velocity over unit time by scaling and squaring.

    Args:
        velocity: ``(N, D, *shape)``, voxels per unit time.
        steps: number of squarings; by default enough that the first step is at most 1/8 voxel.

    Returns:
        The displacement of the flow, ``(N, D, *shape)``.

    Reference:
        Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006.
    """
    if steps is None:
        largest = float(velocity.abs().max())
        steps = max(0, int(torch.tensor(max(largest, 1e-12) * 8).log2().ceil()))
    displacement: Tensor = velocity / 2**steps
    for _ in range(steps):
        displacement = compose(displacement, displacement)
    return displacement


def invert(
    displacement: Tensor,
    iterations: int = 20,
    tolerance: float = 1e-2,
    initial: Tensor | None = None,
    step: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Invert ``x + u(x)`` by the fixed point ``v <- -u(x + v)``, damped where it does not contract.

    Args:
        displacement: u, ``(N, D, *shape)``, voxels.
        iterations: most rounds.
        tolerance: stop once the mean round-trip error is below this (voxels).
        initial: where to start, zero unless told.
        step: called with the number of each round; it may raise to cancel.

    Returns:
        v, and its round-trip error ``|v + u(x + v)|`` per voxel, ``(N, 1, *shape)`` (voxels).

    Reference:
        Chen et al., "A simple fixed-point approach to invert a deformation field", Medical Physics 2008.
    """
    inverse = torch.zeros_like(displacement) if initial is None else initial.clone()
    residual = inverse + warp(displacement, inverse, padding="border")
    error = residual.norm(dim=1, keepdim=True)
    rate = torch.ones_like(error)
    for iteration in range(iterations):
        if float(error.mean()) <= tolerance:
            break
        if step is not None:
            step(iteration)
        inverse = inverse - rate * residual
        residual = inverse + warp(displacement, inverse, padding="border")
        previous, error = error, residual.norm(dim=1, keepdim=True)
        rate = torch.where(error > 0.9 * previous, (rate * 0.5).clamp_min(0.125), rate)
    return inverse, error


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Return det(I + du/dx) by central differences, one-sided at the border.

    The determinant does not depend on the axes it is written in, so voxels of an anisotropic or turned grid give the
    same number as millimetres.

    Args:
        displacement: ``(N, D, *shape)``, voxels.

    Returns:
        ``(N, *shape)``: 1 where volume is kept, <= 0 where space folds.
    """
    dim = displacement.shape[1]
    rows = [[_difference(displacement[:, a], b + 1) for b in range(dim)] for a in range(dim)]
    for a in range(dim):
        rows[a][a] = rows[a][a].add_(1)
    if dim == 2:
        return rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    minors = (
        rows[1][1] * rows[2][2] - rows[1][2] * rows[2][1],
        rows[1][0] * rows[2][2] - rows[1][2] * rows[2][0],
        rows[1][0] * rows[2][1] - rows[1][1] * rows[2][0],
    )
    return rows[0][0] * minors[0] - rows[0][1] * minors[1] + rows[0][2] * minors[2]


def _difference(values: Tensor, axis: int) -> Tensor:
    n = values.shape[axis]
    if n == 1:
        return torch.zeros_like(values)
    out = torch.empty_like(values)
    out.narrow(axis, 0, 1).copy_(values.narrow(axis, 1, 1) - values.narrow(axis, 0, 1))
    out.narrow(axis, n - 1, 1).copy_(values.narrow(axis, n - 1, 1) - values.narrow(axis, n - 2, 1))
    if n > 2:
        middle = out.narrow(axis, 1, n - 2)
        torch.sub(values.narrow(axis, 2, n - 2), values.narrow(axis, 0, n - 2), out=middle)
        middle.mul_(0.5)
    return out
