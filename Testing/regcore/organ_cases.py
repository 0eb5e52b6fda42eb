"""Small made-up cases for rigid training: a lopsided organ in two volumes whose true transform is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from regcore.data.rigid_cases import RigidCase
from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.metrics import surface_points
from regcore.transform import AffineTransform, RigidTransform

CENTRE = np.array([-30.0, 12.0, 105.0])  # where the grids of conftest have theirs (mm)
RADII = np.array([10.0, 7.0, 8.5])  # of the organ (mm)
# Bright spots in the organ, relative to its centre (mm): no turn and no mirror maps them onto themselves.
SPOTS = np.array([[5.0, 1.0, 0.0], [-3.0, -3.0, 4.0], [0.0, 4.0, -5.0]])
REFERENCE = RigidTransform.from_euler((4, -6, 8), (2.0, -1.5, 1.0), CENTRE)


def organ_case(fixed: Grid, moving: Grid, spots: np.ndarray = SPOTS, name: str = "case00") -> RigidCase:
    """Return a case whose moving volume is the fixed one's anatomy, moved by `REFERENCE`."""
    fixed, moving = (Reorientation.to_canonical(grid).grid(grid) for grid in (fixed, moving))
    back = REFERENCE.inverse()
    gland = Image(torch.as_tensor(_inside(fixed.points().numpy())).to(torch.uint8), fixed, "uint8")
    return RigidCase(
        name,
        Image(_seen(fixed.points().numpy(), spots), fixed),
        Image(_seen(back(moving.points().numpy()), spots), moving),
        gland,
        REFERENCE,
        surface_points(gland),
    )


def write_case(folder: Path, name: str, fixed: Grid, moving: Grid) -> None:
    """Write the files of `organ_case`, voxels stored as the grids say, with SimpleITK alone."""
    points = fixed.points().numpy()
    there = AffineTransform.of(REFERENCE.matrix, REFERENCE.translation, REFERENCE.centre).inverse()
    _write(100 * _seen(points, SPOTS).numpy(), fixed, folder / f"{name}_mri.nii.gz")
    _write(200 * _seen(there(moving.points().numpy()), SPOTS).numpy(), moving, folder / f"{name}_trus.nii.gz")
    labels = _inside(points).astype(np.uint8)
    labels[tuple(n // 2 for n in labels.shape)] = 2  # a landmark in the organ
    _write(labels, fixed, folder / f"{name}_mri_labels.nii.gz")
    itk = sitk.Euler3DTransform()
    itk.SetCenter(CENTRE.tolist())
    itk.SetMatrix(REFERENCE.matrix.ravel().tolist())
    itk.SetTranslation(REFERENCE.translation.tolist())
    sitk.WriteTransform(itk, str(folder / f"{name}_reference.tfm"))


def _seen(points: np.ndarray, spots: np.ndarray) -> torch.Tensor:
    value = np.zeros(points.shape[:-1])
    for number, spot in enumerate(spots):
        value += np.exp(-((points - CENTRE - spot) ** 2).sum(-1) / (2 * (3.0 + 0.5 * number) ** 2))
    return torch.as_tensor(value / 1.5).float().clamp(0, 1)


def _inside(points: np.ndarray) -> np.ndarray:
    return np.asarray((((points - CENTRE) / RADII) ** 2).sum(-1) <= 1)


def _write(array: np.ndarray, grid: Grid, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    sitk.WriteImage(image, str(path))
