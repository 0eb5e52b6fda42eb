"""Penalties on displacement fields that are rough or fold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor

from regcore.losses._inputs import check_displacement, in_full_precision

Scheme = Literal["forward", "central"]


@in_full_precision
def diffusion(displacement: Tensor, *, spacing: Sequence[float] | None = None) -> Tensor:
    """Return the mean squared forward difference, the mean over components, voxels and axes.

    Args:
        displacement: ``(N, D, *size)``, voxels.
        spacing: of the voxels (mm), in order of the axes; the derivatives are then those of millimetres by
            millimetres. All voxels cubic, by default.

    Returns:
        A scalar, 0 for a translation.

    Raises:
        ValueError: not a field, or not one positive spacing per axis.

    Reference:
        Balakrishnan et al., "VoxelMorph: a learning framework for deformable medical image registration", IEEE TMI
        2019, equation 9.
    """
    check_displacement("displacement", displacement)
    dim = displacement.shape[1]
    if spacing is not None:
        if len(spacing) != dim or not all(width > 0 for width in spacing):
            raise ValueError(f"spacing: expected {dim} positive numbers (mm), got {tuple(spacing)}")
        displacement = displacement * displacement.new_tensor(spacing).view(-1, *[1] * dim)
    widths = [1.0] * dim if spacing is None else spacing
    terms = [_mean_square(displacement.diff(dim=axis + 2)) / width**2 for axis, width in enumerate(widths)]
    return torch.stack(terms).sum() / dim


@in_full_precision
def bending_energy(displacement: Tensor) -> Tensor:
    """Return the mean over components and voxels of the sum of all squared second differences.

    Mixed derivatives count twice, as they stand twice in the Hessian.

    Args:
        displacement: ``(N, D, *size)``, voxels.

    Returns:
        A scalar, 0 for an affine map.

    Raises:
        ValueError: not a field.

    Reference:
        Rueckert et al., "Nonrigid registration using free-form deformations: application to breast MR images",
        IEEE TMI 1999, equation 4.
    """
    check_displacement("displacement", displacement)
    axes = range(2, displacement.ndim)
    straight = [_mean_square(displacement.diff(n=2, dim=axis)) for axis in axes]
    mixed = [2 * _mean_square(displacement.diff(dim=a).diff(dim=b)) for a, b in combinations(axes, 2)]
    return torch.stack(straight + mixed).sum()


@in_full_precision
def jacobian_penalty(displacement: Tensor, *, scheme: Scheme = "forward") -> Tensor:
    """Return the mean of ``max(0, -det(I + du/dx))``: how much space is turned inside out.

    Args:
        displacement: ``(N, D, *size)``, voxels.
        scheme: ``forward`` differences, where all neighbours are inside, or ``central`` ones, one-sided at the
            border, as in `regcore.ops.fields.jacobian_determinant`. Central ones overlook folds of one voxel.

    Returns:
        A scalar, 0 without folds.

    Raises:
        ValueError: not a field, an axis of one voxel, or an unknown scheme.

    Reference:
        Mok, Chung, "Fast symmetric diffeomorphic image registration with convolutional neural networks", CVPR 2020,
        equation 7.
    """
    check_displacement("displacement", displacement)
    if min(displacement.shape[2:]) < 2:
        raise ValueError(f"displacement: expected 2 voxels or more along each axis, got {tuple(displacement.shape)}")
    if scheme not in get_args(Scheme):
        raise ValueError(f"scheme: expected {' or '.join(get_args(Scheme))}, got {scheme!r}")
    return (-_determinant(_derivatives(displacement, scheme))).relu().mean()


def _mean_square(differences: Tensor) -> Tensor:
    # An axis too short for the difference has nothing to say.
    return differences.square().mean() if differences.numel() else differences.sum()


def _derivatives(displacement: Tensor, scheme: Scheme) -> list[Tensor]:
    """Return ``du/dx_b`` for each axis b, all of one size."""
    axes = range(2, displacement.ndim)
    if scheme == "central":
        return list(torch.gradient(displacement, dim=list(axes)))
    parts = []
    for axis in axes:
        difference = displacement.diff(dim=axis)
        for other in axes:
            if other != axis:
                difference = difference.narrow(other, 0, displacement.shape[other] - 1)
        parts.append(difference)
    return parts


def _determinant(derivatives: list[Tensor]) -> Tensor:
    # By columns: each is a derivative along one axis, with 1 added to its own component.
    columns = [
        torch.stack([component + (a == b) for a, component in enumerate(column.unbind(1))], dim=1)
        for b, column in enumerate(derivatives)
    ]
    if len(columns) == 2:
        return columns[0][:, 0] * columns[1][:, 1] - columns[0][:, 1] * columns[1][:, 0]
    cofactors: Tensor = torch.linalg.cross(columns[1], columns[2], dim=1)
    return (columns[0] * cofactors).sum(1)
