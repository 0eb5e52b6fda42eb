"""Smoothing a displacement exactly where it folds."""

from __future__ import annotations

from torch import Tensor

from regcore.ops.fields import jacobian_determinant
from regcore.ops.slabs import Slab, slabs
from regcore.ops.smoothing import box_sum, gaussian

_NEAR = 7  # voxels: what is smoothed around a fold
_REACH = 8  # voxels: smoothing, its soft edge, and the stencil


def unfold(displacement: Tensor, smallest: float = 0.02, rounds: int = 30) -> Tensor:
    """Return the displacement with its folds smoothed away; elsewhere it stays as it is.

    Around each voxel whose Jacobian determinant is below ``smallest`` the field is blended with a smoother copy,
    again until there is none left. Registration to a fraction of a voxel leaves a few per million.

    Args:
        displacement: ``(1, D, *shape)``, voxels.
        smallest: determinant that counts as folded.
        rounds: after so many the field is returned as it is.
    """
    result = displacement.clone()
    waiting = list(slabs(displacement.shape[2:], _REACH))
    for _ in range(rounds):
        folded = [slab for slab in waiting if _has_fold(result, slab, smallest)]
        if not folded:
            break
        for slab in folded:
            _smooth_folds(result, slab, smallest)
        touched = {row for slab in folded for row in range(slab.outer.start, slab.outer.stop)}
        waiting = [
            slab
            for slab in slabs(displacement.shape[2:], _REACH)
            if any(row in touched for row in range(slab.outer.start, slab.outer.stop))
        ]
    return result


def _has_fold(displacement: Tensor, slab: Slab, smallest: float) -> bool:
    return bool((jacobian_determinant(displacement[:, :, slab.outer])[:, slab.inner] < smallest).any())


def _smooth_folds(displacement: Tensor, slab: Slab, smallest: float) -> None:
    part = displacement[:, :, slab.outer]
    folded = (jacobian_determinant(part) < smallest).to(part).unsqueeze(1)
    share = gaussian(box_sum(folded, _NEAR).clamp_(max=1.0), 1.0)
    part += share * (gaussian(part, 1.0) - part)
