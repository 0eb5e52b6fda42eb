"""Least-squares transforms between paired points."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from regcore.grid import Matrix
from regcore.transform import AffineTransform, RigidTransform


def landmark_transform(
    fixed_points: ArrayLike, moving_points: ArrayLike, kind: Literal["rigid", "affine"] = "rigid"
) -> AffineTransform:
    """Return the least-squares rigid or affine transform that takes fixed landmarks to moving ones.

    Args:
        fixed_points: ``(P, D)`` mm.
        moving_points: ``(P, D)`` mm, in the same order.
        kind: what the transform may do.

    Raises:
        ValueError: counts differ, or the points are too few or lie on a line (rigid) or plane (affine).

    Reference:
        Umeyama, "Least-squares estimation of transformation parameters between two point patterns", TPAMI 1991.
    """
    x, y = np.asarray(fixed_points, dtype=np.float64), np.asarray(moving_points, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(f"landmarks: expected as many fixed as moving points, got {len(x)} and {len(y)}")
    dim = x.shape[1]
    centre = x.mean(axis=0)
    a, b = x - centre, y - y.mean(axis=0)
    needed = dim if kind == "affine" else dim - 1
    if np.linalg.matrix_rank(a, tol=1e-6 * max(1.0, float(np.abs(a).max()))) < needed:
        raise ValueError(f"landmarks: {len(x)} points that span {dim}D are too few for a {kind} transform; add more")
    shift = y.mean(axis=0) - centre
    if kind == "affine":
        return AffineTransform.of(np.linalg.lstsq(a, b, rcond=None)[0].T, shift, centre)
    return RigidTransform(nearest_rotation(b.T @ a), shift, centre)


def nearest_rotation(matrix: Matrix) -> Matrix:
    """Return the rotation closest to ``matrix``, which may be one already (to the precision of its file)."""
    u, _, vt = np.linalg.svd(matrix)
    sign = np.ones(len(matrix))
    sign[-1] = np.sign(np.linalg.det(u @ vt))
    return np.asarray((u * sign) @ vt, dtype=np.float64)
