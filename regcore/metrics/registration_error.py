"""Surface registration error: how far a rigid result lies from the true one, on the surface of the organ."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from regcore.grid import Matrix
from regcore.image import Image
from regcore.metrics.surface import surface_voxels
from regcore.transform import Transform


def surface_points(labels: Image, label: int = 1) -> Matrix:
    """Return the centres of a label's surface voxels, ``(P, D)`` mm.

    Raises:
        ValueError: the label is not there.
    """
    index = surface_voxels(labels.data, label)
    if len(index) == 0:
        raise ValueError(f"labels: label {label} is empty; draw the organ, or name another label")
    return labels.grid.to_world(index[:, ::-1])


def sre(points: ArrayLike, transform: Transform, reference: Transform) -> float:
    """Return the mean distance (mm) between where two transforms send the points of a surface.

    Point to point, without a search for the nearest: a function of the residual transform and the organ's shape only.

    Args:
        points: ``(P, D)`` on the surface in the fixed image (mm, LPS), see `surface_points`.
        transform: the result, fixed to moving.
        reference: the true transform, fixed to moving.

    Raises:
        ValueError: there are no points, or NaN.

    Reference:
        Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, section 3.1.
    """
    if np.size(points) == 0:
        raise ValueError("points: expected at least one point of the organ's surface, got none; see surface_points")
    if not np.isfinite(points).all():
        raise ValueError("points: expected finite coordinates (mm), found NaN or infinity; leave such points out")
    return float(np.linalg.norm(transform(points) - reference(points), axis=1).mean())
