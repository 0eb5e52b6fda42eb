"""Closed-form forces: where each voxel should move to raise a similarity, without automatic differentiation."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Force(Protocol):
    """A similarity to one fixed image and its uphill direction.

    Attributes:
        reach: how many voxels around a voxel its force depends on.
        weak: length of a force at a fraction of a voxel from the goal: updates by weaker ones shrink with the force,
            or they would overshoot again and again.
        voxels: number of voxels that say something; the similarity is a mean over them.
    """

    reach: int
    weak: float
    voxels: float

    def __call__(self, warped: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Compare some rows of the first spatial axis.

        Args:
            warped: ``(N, 1, *slab)``, those rows of the warped image.
            rows: which rows of the fixed image they are.

        Returns:
            The force ``(N, D, *slab)`` and the similarity of each voxel ``(N, 1, *slab)``; both are wrong within
            ``reach`` of an end of the slab that is not an end of the image.
        """
        ...
