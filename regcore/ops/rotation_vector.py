"""Rotations of three dimensions as vectors: the axis, as long as the angle in radians.

Unlike angles about x, y, z in an order, the vector of the inverse is minus the vector, so a prior on it treats both
directions of a registration alike.

Reference: Sola, Deray and Atchuthan, "A micro Lie theory for state estimation in robotics", arXiv 1812.01537, 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SMALL = 1e-4  # radians: below it series, exact to double precision, replace quotients of small numbers


def cross_matrix(vectors: Tensor) -> Tensor:
    """Return the matrices ``(..., 3, 3)`` with ``cross_matrix(a) b = a x b``, for vectors ``(..., 3)``."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, dim=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.stack(rows, dim=-2)


def rotation_of(vector: Tensor) -> Tensor:
    """Return the rotation ``(3, 3)`` of a vector ``(3,)`` (radians)."""
    across = cross_matrix(vector)
    sine, versine, _ = _quotients(float(vector.norm()))
    identity = torch.eye(3, dtype=vector.dtype)
    return identity + sine * across + versine * across @ across


def vector_of(rotation: Tensor) -> Tensor:
    """Return the vector ``(3,)``, at most pi long, of a rotation ``(3, 3)``."""
    # The quaternion from the eigenvector of Bar-Itzhack's symmetric matrix: sound for every angle, half a turn too.
    r = rotation.double()
    skew = torch.stack([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    matrix = torch.empty(4, 4, dtype=torch.float64)
    matrix[1:, 1:] = r + r.T - r.trace() * torch.eye(3, dtype=torch.float64)
    matrix[0, 1:] = matrix[1:, 0] = skew
    matrix[0, 0] = r.trace()
    quaternion = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    if quaternion[0] < 0:
        quaternion = -quaternion
    half = quaternion[1:].norm()
    angle = 2 * torch.atan2(half, quaternion[0])
    scale = angle / half if half > 1e-12 else torch.tensor(2.0, dtype=torch.float64)
    vector: Tensor = quaternion[1:] * scale
    return vector.to(rotation.dtype)


def left_jacobian(vector: Tensor) -> Tensor:
    """Return ``J`` ``(3, 3)`` with ``rotation_of(v + dv) = rotation_of(J dv) rotation_of(v)`` to first order."""
    across = cross_matrix(vector)
    _, versine, rest = _quotients(float(vector.norm()))
    return torch.eye(3, dtype=vector.dtype) + versine * across + rest * across @ across


def _quotients(angle: float) -> tuple[float, float, float]:
    """Return sin a / a, (1 - cos a) / a^2 and (a - sin a) / a^3."""
    if angle < _SMALL:
        return 1 - angle**2 / 6, 0.5 - angle**2 / 24, 1 / 6 - angle**2 / 120
    a = torch.tensor(angle, dtype=torch.float64)
    sine = float(a.sin())
    return sine / angle, 2 * float((a / 2).sin()) ** 2 / angle**2, (angle - sine) / angle**3
