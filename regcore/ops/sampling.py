"""Sampling tensors at voxel coordinates.

Spatial axes keep the array's order throughout (k, j, i in 3D; j, i in 2D), coordinates and displacements list their
components in that same order, in voxels of the sampled tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["linear", "nearest"]
Padding = Literal["zeros", "border"]

_WORTH_SHARING = 50_000  # points
_TORCH_MODE = {"linear": "bilinear", "nearest": "nearest"}


def identity_coordinates(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return each voxel's own coordinates, ``(1, D, *shape)``, with dtype and device of ``like``."""
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def affine_coordinates(matrix: Tensor, shape: Sequence[int], like: Tensor) -> Tensor:
    """Return where a lattice's voxels lie in another 3D volume.

    Args:
        matrix: ``(4, 4)``, from indices (i, j, k) of the lattice to those of the volume.
        shape: of the lattice (k, j, i).
        like: whose dtype and device the result has.

    Returns:
        ``(1, 3, *shape)``, as `sample` takes them.
    """
    matrix = matrix.to(like)
    where = matrix[:3, 3].flip(0).view(3, 1, 1, 1)
    # One term per axis, added up by broadcasting: no table of points has to be multiplied.
    for axis, n in enumerate(shape):
        steps = torch.arange(n, dtype=like.dtype, device=like.device).view([-1 if a == axis else 1 for a in range(3)])
        where = where + matrix[:3, 2 - axis].flip(0).view(3, 1, 1, 1) * steps
    return where[None]


def sample(data: Tensor, coordinates: Tensor, mode: Mode = "linear", padding: Padding = "zeros") -> Tensor:
    """Sample ``data`` at voxel ``coordinates``.

    Args:
        data: ``(N, C, *size)``.
        coordinates: ``(N, D, *shape)``, voxels of ``data``, component order = axis order.
        mode: ``linear`` (bi- or trilinear) or ``nearest``.
        padding: value outside the volume: ``zeros``, or the nearest edge voxel (``border``).

    Returns:
        ``(N, C, *shape)``.
    """
    # (2 x + 1) / n - 1 is grid_sample's half-pixel form: exact for an axis of one voxel too, where n - 1 would be 0.
    scaled = [torch.add(coordinates[:, axis].mul(2.0 / n), 1.0 / n - 1.0) for axis, n in enumerate(data.shape[2:])]
    lattice = torch.stack(scaled[::-1], dim=-1)
    lattice, parts = share_out(lattice.to(data.dtype))
    sampled = F.grid_sample(
        data.expand(parts, *data.shape[1:]) if parts > 1 else data,
        lattice,
        mode=_TORCH_MODE[mode],
        padding_mode=padding,
        align_corners=False,
    )
    if parts == 1:
        return sampled
    return sampled.view(parts, data.shape[1], -1).transpose(0, 1).reshape(1, data.shape[1], *coordinates.shape[2:])


def share_out(lattice: Tensor) -> tuple[Tensor, int]:
    """Cut one large lattice into equal parts, as a batch: on a CPU, grid_sample's threads share out the batch only."""
    count, dim = lattice[0, ..., 0].numel(), lattice.shape[-1]
    threads = torch.get_num_threads()
    alone = len(lattice) == 1 and lattice.device.type == "cpu" and count >= _WORTH_SHARING
    if not alone or threads == 1 or count % threads or lattice.requires_grad:
        return lattice, 1
    return lattice.view(threads, *[1] * (dim - 1), count // threads, dim), threads


def warp(data: Tensor, displacement: Tensor, mode: Mode = "linear", padding: Padding = "zeros") -> Tensor:
    """Return ``data(x + displacement(x))``; see `sample` for the arguments.

    Args:
        data: ``(N, C, *shape)``.
        displacement: ``(N, D, *shape)``, voxels.
        mode: interpolation.
        padding: value outside the volume.
    """
    coordinates = displacement + identity_coordinates(displacement.shape[2:], displacement)
    return sample(data, coordinates, mode, padding)
