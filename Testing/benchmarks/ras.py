"""An ITK affine in the coordinates that greedy keeps its matrices in."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def ras_matrix(transform: sitk.Transform) -> np.ndarray:
    """Return an affine ITK transform as greedy's matrix: homogeneous, RAS to RAS mm, fixed to moving."""
    origin = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.asarray(transform.TransformPoint(axis)) - origin for axis in np.eye(3).tolist()]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack(columns, axis=1), origin
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ matrix @ flip
