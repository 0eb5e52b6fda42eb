"""Rigid maps of three dimensions as six numbers, and as matrices, in batches that gradients pass through.

Six parameters are ``(tx, ty, tz, ax, ay, az)``: millimetres and degrees, in this order. The matrix they stand for is
``[R | t]`` with ``R = Rz(az) Ry(ay) Rx(ax)``: fixed axes, turned about x first.

Reference: Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, section 2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rigid_matrix(parameters: Tensor) -> Tensor:
    """Return the homogeneous matrices ``(N, 4, 4)`` of parameters ``(N, 6)`` (mm, degrees)."""
    angles = torch.deg2rad(parameters[:, 3:])
    cx, cy, cz = angles.cos().unbind(1)
    sx, sy, sz = angles.sin().unbind(1)
    tx, ty, tz = parameters[:, :3].unbind(1)
    zero, one = torch.zeros_like(tx), torch.ones_like(tx)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx, tx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx, ty],
        [-sy, cy * sx, cy * cx, tz],
        [zero, zero, zero, one],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def rigid_parameters(matrix: Tensor) -> Tensor:
    """Return the parameters ``(N, 6)`` (mm, degrees) of rigid matrices ``(N, 4, 4)``; ay lies in [-90, 90].

    At ay = -90 and 90 the other two angles turn about one axis, and only their sum or difference means anything.
    """
    ax = torch.atan2(matrix[:, 2, 1], matrix[:, 2, 2])
    ay = torch.atan2(-matrix[:, 2, 0], torch.hypot(matrix[:, 0, 0], matrix[:, 1, 0]))
    az = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    return torch.cat([matrix[:, :3, 3], torch.rad2deg(torch.stack([ax, ay, az], dim=1))], dim=1)


def rigid_inverse(matrix: Tensor) -> Tensor:
    """Return the inverses of rigid matrices ``(N, 4, 4)``."""
    back = matrix[:, :3, :3].transpose(1, 2)
    top = torch.cat([back, -back @ matrix[:, :3, 3:]], dim=2)
    return torch.cat([top, matrix[:, 3:]], dim=1)


def apply_matrix(matrix: Tensor, points: Tensor) -> Tensor:
    """Map points ``(N, P, 3)``, or ``(P, 3)`` for all, by affine matrices ``(N, 4, 4)``; return ``(N, P, 3)``."""
    return points @ matrix[:, :3, :3].transpose(1, 2) + matrix[:, None, :3, 3]


def residual_target(true: Tensor, start: Tensor) -> Tensor:
    """Return what a network is to predict: the parameters of ``true start^-1``.

    Args:
        true: ``(N, 4, 4)``, moving to fixed points, both relative to the rotation centre.
        start: likewise, the current transform.

    Returns:
        ``(N, 6)``; its matrix times ``start`` gives ``true``.
    """
    return rigid_parameters(true @ rigid_inverse(start))


def mean_displacement(matrix: Tensor, points: Tensor) -> Tensor:
    """Return how far rigid matrices ``(N, 4, 4)`` move points ``(N, P, 3)`` or ``(P, 3)`` on average, ``(N,)`` mm.

    Of the residual ``true start^-1`` and the vertices of the gland's surface this is the surface registration error.
    """
    distance: Tensor = (apply_matrix(matrix, points) - points).norm(dim=2)
    return distance.mean(dim=1)
