"""Instance optimisation: improve a displacement on the pair of images itself, coarse to fine.

Greedy compositional registration: each iteration warps the moving image, takes a closed-form force of the
similarity, smooths it, composes it with the displacement so far and smooths that a little (Vercauteren et al.,
"Diffeomorphic demons", NeuroImage 45, 2009; Avants et al., Medical Image Analysis 12, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from regcore.forces.lncc import LnccForce
from regcore.ops.pyramid import downsample, downsample_displacement, upsample_displacement
from regcore.ops.sampling import warp
from regcore.ops.smoothing import gaussian
from regcore.progress import Cancelled

Similarity = Literal["lncc", "mind"]
_SMALLEST_AXIS = 16  # voxels: an axis is not halved below this


@dataclass(frozen=True)
class RefineOptions:
    """How `refine` works; the defaults suit skull-stripped brains and images like them.

    Attributes:
        similarity: ``lncc`` for images of one modality, ``mind`` across modalities.
        iterations: per level, coarse to fine; 0 skips a level.
        finest: voxels of the given grid per voxel of the finest level (1, 2 or 4).
        window: LNCC window, voxels of the level (odd).
        update_sigma: smoothing of each update, voxels of the level.
        field_sigma: smoothing of the displacement after each update, voxels of the level.
        step: largest update, voxels of the level.
    """

    similarity: Similarity = "lncc"
    iterations: tuple[int, ...] = (100, 60)
    finest: int = 2
    window: int = 5
    update_sigma: float = 1.2
    field_sigma: float = 0.5
    step: float = 0.5


def refine(
    fixed: Tensor,
    moving: Tensor,
    initial: Tensor | None = None,
    *,
    options: RefineOptions | None = None,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
    spacing: Sequence[float] | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Tensor:
    """Return a displacement that makes ``moving(x + u(x))`` more like ``fixed(x)``.

    Args:
        fixed: ``(1, 1, *shape)`` float32, about [0, 1], background 0.
        moving: ``(1, 1, *shape)`` on the same grid, roughly aligned.
        initial: ``(1, D, *shape)`` displacement to start from, voxels; zero when absent.
        options: see `RefineOptions`.
        fixed_mask: ``(1, 1, *shape)``, voxels of the fixed image that count.
        moving_mask: ``(1, 1, *shape)``, voxels of the moving image that count.
        spacing: voxel size per axis (array order); only ratios matter; isotropic when absent.
        progress: called with the fraction done and a message.
        cancelled: asked before each iteration.

    Returns:
        ``(1, D, *shape)`` displacement, voxels of the given grid.

    Raises:
        Cancelled: ``cancelled`` returned true.
    """
    options = options or RefineOptions()
    shape = fixed.shape[2:]
    result = initial if initial is not None else fixed.new_zeros(1, len(shape), *shape)
    total, done = sum(options.iterations), 0
    for level, iterations in enumerate(options.iterations):
        if iterations == 0:
            continue
        factor = options.finest * 2 ** (len(options.iterations) - 1 - level)
        factors = [
            min(factor, 2 ** max(0, int(math.log2(size / _SMALLEST_AXIS)))) if size >= _SMALLEST_AXIS else 1
            for size in shape
        ]
        displacement = downsample_displacement(result, factors)
        before = displacement
        force = LnccForce(downsample(fixed, factors), options.window)
        target = downsample(moving, factors)
        for _ in range(iterations):
            if cancelled is not None and cancelled():
                raise Cancelled
            update, value = force(warp(target, displacement))
            update = gaussian(update, options.update_sigma)
            longest = float(update.square().sum(1).max().sqrt())
            update.mul_(options.step / max(longest, 1e-12))
            displacement = gaussian(update + warp(displacement, update, padding="border"), options.field_sigma)
            done += 1
            if progress is not None:
                progress(done / total, f"1/{factor} size, similarity {float(value):.4f}")
        result = result + upsample_displacement(displacement - before, factors, shape)
    return result
