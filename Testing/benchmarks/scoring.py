"""One scoring for every method, from the transform it left: overlap and surfaces of labels, and how regular it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import binary_erosion, find_objects
from scipy.spatial import KDTree


@dataclass(frozen=True)
class Score:
    """How good a transform is.

    Attributes:
        dice: mean over the labels of the fixed map.
        dice_per_label: the same, label by label.
        hd95_mm: mean over these labels of the 95th percentile of the distance between surfaces (mm); nan where one is
            lost.
        folding_percent: voxels of the fixed grid whose Jacobian determinant is 0 or negative.
        sdlogj: standard deviation of the logarithm of the determinant.
    """

    dice: float
    dice_per_label: dict[int, float]
    hd95_mm: float
    folding_percent: float
    sdlogj: float


def score(transforms: list[Path], fixed_labels: Path, moving_labels: Path) -> Score:
    """Score the chain of ``transforms``, first applied first, that maps fixed to moving points."""
    fixed, moving = sitk.ReadImage(str(fixed_labels)), sitk.ReadImage(str(moving_labels))
    # The transform that was added last is applied first.
    chain = sitk.CompositeTransform([_read(path) for path in reversed(transforms)])
    warped = sitk.Resample(moving, fixed, chain, sitk.sitkNearestNeighbor)
    maps = sitk.GetArrayViewFromImage(fixed), sitk.GetArrayViewFromImage(warped)
    dice = _dice(*maps)
    surfaces = [_surface_points(labels, list(dice), fixed.GetSpacing()) for labels in maps]
    determinant = _determinant(_displacement(chain, fixed), fixed)
    logarithm = np.log(determinant.clip(1e-9, 1e9))
    return Score(
        float(np.mean(list(dice.values()))),
        dice,
        float(np.mean([_hd95(*(points[label] for points in surfaces)) for label in dice])),
        100 * float((determinant <= 0).mean()),
        float(logarithm.std(dtype=np.float64)),
    )


def _read(path: Path) -> sitk.Transform:
    if path.name.endswith(".nii.gz"):
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return sitk.ReadTransform(str(path))


def _dice(fixed: np.ndarray, warped: np.ndarray) -> dict[int, float]:
    labels = [int(label) for label in np.unique(fixed) if label != 0]
    common = fixed == warped
    sizes = {label: int((fixed == label).sum()) + int((warped == label).sum()) for label in labels}
    return {label: 2 * int((common & (fixed == label)).sum()) / sizes[label] for label in labels}


def _surface_points(labels: np.ndarray, wanted: list[int], spacing: tuple[float, ...]) -> dict[int, np.ndarray]:
    """Return the centres (mm along the axes) of each label's voxels that have a face neighbour of another value."""
    found, boxes = {}, find_objects(labels, max(wanted))
    for label in wanted:
        box = boxes[label - 1]
        inside = np.zeros((0,) * labels.ndim, dtype=bool) if box is None else labels[box] == label
        corner = np.zeros(labels.ndim) if box is None else [axis.start for axis in box]
        found[label] = (np.argwhere(inside & ~binary_erosion(inside)) + corner) * spacing[::-1]
    return found


def _hd95(one: np.ndarray, other: np.ndarray) -> float:
    if not (len(one) and len(other)):
        return float("nan")
    ways = KDTree(other).query(one)[0], KDTree(one).query(other)[0]
    return max(float(np.percentile(distances, 95)) for distances in ways)


def _displacement(transform: sitk.Transform, grid: sitk.Image) -> np.ndarray:
    """Return the displacement at each voxel of ``grid``, ``(k, j, i, 3)`` mm, LPS."""
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
    )
    return sitk.GetArrayFromImage(field).astype(np.float32)


def _determinant(displacement: np.ndarray, grid: sitk.Image) -> np.ndarray:
    """Return det(I + du/dx) by central differences, one-sided at the border.

    The vectors are turned into the axes of the grid first: derivatives are taken along those.
    """
    axes = np.asarray(grid.GetDirection()).reshape(3, 3)
    own = (displacement @ axes.astype(np.float32)).transpose(3, 0, 1, 2)
    rows = [[_slope(own[a], 2 - b, grid.GetSpacing()[b]) + (a == b) for b in range(3)] for a in range(3)]
    terms = (
        rows[0][a] * (rows[1][b] * rows[2][c] - rows[1][c] * rows[2][b])
        for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    )
    return reduce(np.add, terms)


def _slope(values: np.ndarray, axis: int, spacing: float) -> np.ndarray:
    return np.gradient(values, np.float32(spacing), axis=axis).astype(np.float32, copy=False)
