"""One level of greedy registration: warp, force, smooth, compose, smooth.

The displacement grows by small smooth updates ``v``, composed with what there is: ``u(x + v(x)) + v(x)`` (Vercauteren
et al., "Diffeomorphic demons", NeuroImage 45, 2009), here to first order, ``u + v + (v . grad) u``: the updates are
about half a voxel, and a stencil costs a fifth of an interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.forces import Force
from regcore.ops.quick_sampling import sample_quickly
from regcore.ops.slabs import Slab, SlabRunner, slabs
from regcore.ops.smoothing import gaussian, gaussian_reach


class GreedyLevel:
    """The state of one level: images, displacement, and the buffers of an iteration.

    Args:
        force: of the fixed image.
        moving: ``(1, 1, *shape)``.
        displacement: ``(1, D, *shape)``, voxels.
        aspect: smallest voxel edge divided by the voxel's edge, per axis; 1 where voxels are cubes.
        update_sigma: smoothing of the update, in units of the smallest edge.
        field_sigma: smoothing of the displacement, in the same units.
        moving_mask: ``(1, 1, *shape)``, weight of each moving voxel.
        run: what slabs are run with.
    """

    def __init__(
        self,
        force: Force,
        moving: Tensor,
        displacement: Tensor,
        *,
        aspect: Sequence[float],
        update_sigma: float,
        field_sigma: float,
        moving_mask: Tensor | None = None,
        run: SlabRunner | None = None,
    ) -> None:
        self._run = run or SlabRunner()
        self.displacement = displacement.clone(memory_format=torch.contiguous_format)  # its memory is written to
        self._force = force
        both = moving if moving_mask is None else torch.cat([moving, moving_mask], dim=1)
        self._moving = F.pad(both, [1] * (2 * len(displacement.shape[2:])))  # zeros outside, for whom the edge counts
        self._aspect = aspect
        self._update_sigma = [update_sigma * ratio for ratio in aspect]
        self._field_sigma = [field_sigma * ratio for ratio in aspect]
        self._shape = displacement.shape[2:]
        self._warped = torch.empty_like(both)
        self._update = torch.empty_like(self.displacement)
        self._spare = torch.empty_like(self.displacement)

    def iterate(self, step: float) -> float:
        """Make one iteration.

        Args:
            step: length of the largest update, in units of the smallest voxel edge; less where the force is weak.

        Returns:
            The similarity before it.
        """
        self._run(self._warp, slabs(self._shape))
        reach = self._force.reach + gaussian_reach(self._update_sigma[0])
        measured = self._run(self._push, slabs(self._shape, reach))
        similarity, longest = zip(*measured, strict=True)
        scale = step / max(math.sqrt(max(longest)), self._force.weak)
        reach = 1 + gaussian_reach(self._field_sigma[0])
        self._run(partial(self._compose, scale=scale), slabs(self._shape, reach))
        self.displacement, self._spare = self._spare, self.displacement
        return float(sum(similarity)) / self._force.voxels

    def _warp(self, slab: Slab) -> None:
        coordinates = self.displacement[:, :, slab.rows].clone()
        for axis, size in enumerate(coordinates.shape[2:]):
            start = 1 + (slab.rows.start if axis == 0 else 0)  # the moving image has a border
            position = torch.arange(start, start + size, dtype=coordinates.dtype, device=coordinates.device)
            coordinates[:, axis] += position.view(-1, *[1] * (len(self._shape) - 1 - axis))
        self._warped[:, :, slab.rows] = sample_quickly(self._moving, coordinates)

    def _push(self, slab: Slab) -> tuple[float, float]:
        """Fill in the update of the slab's rows; return their summed similarity and largest squared length."""
        warped = self._warped[:, :, slab.outer]
        force, similarity = self._force(warped[:, :1], slab.outer)
        if warped.shape[1] > 1:
            force *= warped[:, 1:]
        for axis, ratio in enumerate(self._aspect):
            if ratio != 1.0:  # per mm twice: once for the slope, once for the step along it
                force[:, axis] *= ratio**2
        update = gaussian(force, self._update_sigma)[:, :, slab.inner]
        self._update[:, :, slab.rows] = update
        squared = sum((update[:, axis] * update[:, axis]).mul_(ratio**-2) for axis, ratio in enumerate(self._aspect))
        assert isinstance(squared, Tensor)
        return float(similarity[:, :, slab.inner].sum()), float(squared.max())

    def _compose(self, slab: Slab, scale: float) -> None:
        old, update = self.displacement[:, :, slab.outer], self._update[:, :, slab.outer]
        new = torch.add(old, update, alpha=scale)
        for axis, size in enumerate(new.shape[2:], start=2):
            inside = size - 2
            if inside > 0:
                change = old.narrow(axis, 2, inside) - old.narrow(axis, 0, inside)
                along = update[:, axis - 2 : axis - 1].narrow(axis, 1, inside)
                new.narrow(axis, 1, inside).addcmul_(change, along, value=0.5 * scale)
        self._spare[:, :, slab.rows] = gaussian(new, self._field_sigma)[:, :, slab.inner]
