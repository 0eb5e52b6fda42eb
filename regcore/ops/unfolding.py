"""Smoothing a displacement exactly where it folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from regcore.ops.fields import determinant, jacobian_determinant
from regcore.ops.slabs import Slab, SlabRunner, slabs
from regcore.ops.smoothing import box_sum, gaussian, gaussian_reach

_EDGE = 0.7  # voxels: deviation of the Gaussian that softens what is smoothed
_LEAST = 0.01  # weight from which on a voxel is smoothed


def unfold(
    displacement: Tensor, smallest: float = 0.02, rounds: int = 60, near: int = 3, run: SlabRunner | None = None
) -> Tensor:
    """Return the displacement with its folds smoothed away; elsewhere it stays as it is.

    Around each voxel whose Jacobian determinant is below ``smallest`` the field is smoothed a little along each axis,
    again until there is none left. Registration to a fraction of a voxel leaves a few per million.

    Args:
        displacement: ``(1, D, *shape)``, voxels.
        smallest: determinant that counts as folded.
        rounds: of smoothing in one place; then it is left as it is.
        near: width, in voxels, of what is smoothed around a fold; less moves less and takes longer.
        run: what slabs are run with.
    """
    run = run or SlabRunner()
    result = displacement.clone(memory_format=torch.contiguous_format)
    found = run(partial(_folds_in, result, smallest=smallest), slabs(displacement.shape[2:], 1))
    for folds in found:
        left = folds
        for _ in range(rounds):
            if not len(left):
                break
            left = _smooth_around(result, left, smallest, near)
    return result


def _folds_in(displacement: Tensor, slab: Slab, smallest: float) -> Tensor:
    """Return the folded voxels of a slab, ``(P, D)`` indices."""
    folded = jacobian_determinant(displacement[:, :, slab.outer])[0, slab.inner] < smallest
    indices = folded.nonzero()
    indices[:, 0] += slab.rows.start
    return indices


def _smooth_around(displacement: Tensor, folds: Tensor, smallest: float, near: int) -> Tensor:
    """Smooth near ``folds``, in place; return the folds that are left there.

    Few voxels are near a fold: they are gathered one by one, which costs a fraction of smoothing all around them.
    """
    shape = displacement.shape[2:]
    field = displacement.view(len(shape), -1)
    indices, weight = _around(folds, shape, displacement.dtype, near)
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    at = (indices * indices.new_tensor(strides)).sum(1)
    places = [_Neighbours.of(at, indices[:, axis], *step) for axis, step in enumerate(zip(strides, shape, strict=True))]
    for place in places:
        here = field.index_select(1, at)
        mean = field.index_select(1, place.before).add_(field.index_select(1, place.after)).mul_(0.5)
        field.index_copy_(1, at, here.lerp_(mean, weight))
    slopes = [
        (field.index_select(1, place.after) - field.index_select(1, place.before)) / place.apart for place in places
    ]
    return indices[determinant(torch.stack(slopes, dim=1)[None])[0] < smallest]


def _around(folds: Tensor, shape: Sequence[int], dtype: torch.dtype, near: int) -> tuple[Tensor, Tensor]:
    """Return the voxels around ``folds``, ``(P, D)`` indices, and how much to smooth each, up to a half, ``(P,)``."""
    reach = near // 2 + gaussian_reach(_EDGE)
    low = (folds.amin(0) - reach).clamp(min=0)
    high = torch.minimum(folds.amax(0) + reach + 1, torch.tensor(shape, device=folds.device))
    marked = torch.zeros((1, 1, *(high - low).tolist()), dtype=dtype, device=folds.device)
    marked[0, 0].index_put_((folds - low).unbind(1), marked.new_ones(()))
    # What is left of the weight where it is cut off is taken off everywhere: nothing jumps there.
    share = gaussian(box_sum(marked, near).clamp_(max=1.0), _EDGE)[0, 0] - _LEAST
    indices = (share > 0).nonzero()
    return indices + low, 0.5 * share[indices.unbind(1)]


class _Neighbours(NamedTuple):
    """Voxels before and after some along one axis, as places in the flattened volume; none is outside it."""

    before: Tensor
    after: Tensor
    apart: Tensor  # voxels between them

    @classmethod
    def of(cls, at: Tensor, index: Tensor, stride: int, size: int) -> _Neighbours:
        first, last = index == 0, index == size - 1
        apart = (2.0 - first.float() - last.float()).clamp_min_(1.0)
        return cls(at - stride * ~first, at + stride * ~last, apart)
