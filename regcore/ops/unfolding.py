"""Smoothing a displacement exactly where it folds."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from regcore.ops.fields import jacobian_determinant
from regcore.ops.slabs import Slab, SlabRunner, slabs
from regcore.ops.smoothing import box_sum, gaussian

_NEAR = 5  # voxels: width of what is smoothed around a fold; more moves more, and takes longer to come to an end
_REACH = 7  # voxels around a fold: half of that, the soft edge, and one for the stencil


def unfold(displacement: Tensor, smallest: float = 0.02, rounds: int = 30, run: SlabRunner | None = None) -> Tensor:
    """Return the displacement with its folds smoothed away; elsewhere it stays as it is.

    Around each voxel whose Jacobian determinant is below ``smallest`` the field is blended with a smoother copy,
    again until there is none left. Registration to a fraction of a voxel leaves a few per million.

    Args:
        displacement: ``(1, D, *shape)``, voxels.
        smallest: determinant that counts as folded.
        rounds: of blending in one place; then it is left as it is.
        run: what slabs are run with.
    """
    run = run or SlabRunner()
    result = displacement.clone()
    found = run(partial(_folds_in, result, smallest=smallest), slabs(displacement.shape[2:], 1))
    for folds in found:
        left = folds
        for _ in range(rounds):
            if not len(left):
                break
            left = _smooth_around(result, left, smallest)
    return result


def _folds_in(displacement: Tensor, slab: Slab, smallest: float) -> Tensor:
    """Return the folded voxels of a slab, ``(P, D)`` indices."""
    folded = jacobian_determinant(displacement[:, :, slab.outer])[0, slab.inner] < smallest
    indices = folded.nonzero()
    indices[:, 0] += slab.rows.start
    return indices


def _smooth_around(displacement: Tensor, folds: Tensor, smallest: float) -> Tensor:
    """Smooth near ``folds``, in place; return the folds that are left there."""
    shape = torch.tensor(displacement.shape[2:], device=folds.device)
    low = (folds.amin(0) - _REACH).clamp(min=0)
    high = torch.minimum(folds.amax(0) + _REACH + 1, shape)
    part = displacement
    for axis, (start, stop) in enumerate(zip(low.tolist(), high.tolist(), strict=True), start=2):
        part = part.narrow(axis, start, stop - start)
    marked = torch.zeros_like(part[:, :1])
    marked[0, 0].index_put_((folds - low).unbind(1), marked.new_ones(()))
    share = gaussian(box_sum(marked, _NEAR).clamp_(max=1.0), 1.0)
    part += share * (gaussian(part, 1.0) - part)
    # Where the box was cut from the grid its determinants are one-sided; nothing changed that far out.
    left = ((jacobian_determinant(part)[0] < smallest) & (share[0, 0] > 0)).nonzero()
    return left + low
