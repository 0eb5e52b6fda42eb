"""Vector-field algebra on bare tensors: compose, exponentiate, differentiate, Jacobian determinant.

Fields are ``(N, D, *shape)``, in voxels of their own grid, component order = axis order, pull convention
``warped(x) = moving(x + u(x))``. Outside the grid a field keeps its edge value.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def gradient(displacement: Tensor) -> Tensor:
    """Return du_a/dx_b by central differences, one-sided at the border.

    Args:
        displacement: ``(N, D, *shape)``, voxels.

    Returns:
        ``(N, D, D, *shape)``, component a first, then axis b.
    """
    dim = displacement.shape[1]
    out = displacement.new_empty((len(displacement), dim, *displacement.shape[1:]))
    for b in range(dim):
        _difference(displacement, b + 2, out[:, :, b])
    return out


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Return det(I + du/dx) by central differences, one-sided at the border.

    The determinant does not depend on the axes it is written in, so voxels of an anisotropic or turned grid give the
    same number as millimetres.

    Args:
        displacement: ``(N, D, *shape)``, voxels.

    Returns:
        ``(N, *shape)``: 1 where volume is kept, <= 0 where space folds.
    """
    return determinant(gradient(displacement))


def determinant(slopes: Tensor) -> Tensor:
    """Return det(I + du/dx) of slopes ``(N, D, D, *shape)`` as `gradient` gives them, which it overwrites."""
    rows = slopes.unbind(1)
    dim = len(rows)
    for a in range(dim):
        rows[a][:, a].add_(1)
    if dim == 2:
        return rows[0][:, 0] * rows[1][:, 1] - rows[0][:, 1] * rows[1][:, 0]
    # By hand: torch.linalg.cross takes three times as long.
    expanded = _minor(rows, 0).mul_(rows[0][:, 0])
    return expanded.addcmul_(rows[0][:, 1], _minor(rows, 1)).addcmul_(rows[0][:, 2], _minor(rows, 2))


def _minor(rows: Sequence[Tensor], axis: int) -> Tensor:
    """Return the cofactor of the first row's number ``axis``."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    return (rows[1][:, one] * rows[2][:, other]).addcmul_(rows[1][:, other], rows[2][:, one], value=-1.0)


def _difference(values: Tensor, axis: int, out: Tensor) -> None:
    n = values.shape[axis]
    if n == 1:
        out.zero_()
        return
    first, last = (0, 1), (n - 2, n - 1)
    for low, high in (first, last):
        edge = 0 if low == 0 else n - 1
        torch.sub(values.narrow(axis, high, 1), values.narrow(axis, low, 1), out=out.narrow(axis, edge, 1))
    if n > 2:
        middle = out.narrow(axis, 1, n - 2)
        torch.sub(values.narrow(axis, 2, n - 2), values.narrow(axis, 0, n - 2), out=middle)
        middle.mul_(0.5)
