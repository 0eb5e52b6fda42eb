"""Error at corresponding points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from regcore.grid import Matrix
from regcore.transform import Transform


def tre(fixed_points: ArrayLike, moving_points: ArrayLike, transform: Transform) -> Matrix:
    """Target registration error: how far each fixed point lands from its partner.

    Args:
        fixed_points: ``(P, D)`` mm, LPS.
        moving_points: ``(P, D)`` mm, LPS, in the same order.
        transform: maps fixed to moving points.

    Returns:
        ``(P,)`` mm.

    Raises:
        ValueError: the counts or dimensions differ, NaN, or there are no points.
    """
    fixed, moving = (np.asarray(points, dtype=np.float64) for points in (fixed_points, moving_points))
    if fixed.shape != moving.shape:
        raise ValueError(f"landmarks: expected as many moving as fixed points, got {fixed.shape} and {moving.shape}")
    if fixed.ndim != 2 or len(fixed) == 0 or fixed.shape[1] != transform.dim:
        raise ValueError(f"landmarks: expected points of shape (P, {transform.dim}), got {fixed.shape}")
    if not (np.isfinite(fixed).all() and np.isfinite(moving).all()):
        raise ValueError("landmarks: expected finite coordinates (mm), found NaN or infinity; leave such points out")
    return np.asarray(np.linalg.norm(transform(fixed) - moving, axis=1))
