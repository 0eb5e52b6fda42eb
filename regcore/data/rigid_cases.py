"""Cases with a known rigid transform, as tensors ready to be sampled from: MRI, ultrasound, gland, reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from regcore.grid import Matrix
from regcore.image import Image, Reorientation
from regcore.io import read_image, read_labels, read_transform
from regcore.metrics.registration_error import surface_points
from regcore.preprocess import normalise
from regcore.transform import AffineTransform

_GLAND = 1


@dataclass(frozen=True)
class RigidCase:
    """One pair of volumes and how they truly lie.

    Attributes:
        name: of the case.
        fixed: in canonical order.
        moving: in canonical order.
        gland: of the fixed image, above 0 inside, on its grid.
        reference: fixed to moving points.
        surface: points of the gland's surface in the fixed image, ``(P, 3)`` mm.
    """

    name: str
    fixed: Image
    moving: Image
    gland: Image
    reference: AffineTransform
    surface: Matrix

    @property
    def to_moving(self) -> Tensor:
        """The reference as a matrix ``(4, 4)``, float64."""
        return torch.as_tensor(self.reference.homogeneous)


def read_case(folder: Path, name: str) -> RigidCase:
    """Read ``NAME_mri.nii.gz``, ``NAME_trus.nii.gz``, ``NAME_mri_labels.nii.gz`` and ``NAME_reference.tfm``.

    Raises:
        ValueError: a file is missing, damaged or does not fit the others.
    """
    fixed = _upright(read_image(folder / f"{name}_mri.nii.gz", "fixed"))
    moving = _upright(read_image(folder / f"{name}_trus.nii.gz", "moving"))
    labels = _upright(read_labels(folder / f"{name}_mri_labels.nii.gz", "fixed-labels"))
    reference = read_transform(folder / f"{name}_reference.tfm", fixed.grid, "reference")
    if not isinstance(reference, AffineTransform):
        raise ValueError(f"reference: expected a rigid transform for {name}, got {type(reference).__name__}")
    gland = labels.with_data((labels.data == _GLAND).to(torch.uint8), "uint8")
    return RigidCase(
        name,
        fixed.with_data(normalise(fixed)),
        moving.with_data(normalise(moving)),
        gland,
        reference,
        surface_points(gland),
    )


def read_cases(folder: Path, names: Sequence[str]) -> list[RigidCase]:
    """Read several cases of one folder; see `read_case`.

    Raises:
        ValueError: there is no such folder, or a case in it cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"data: there is no folder {folder}; name the one that holds caseNN_mri.nii.gz and the others")
    return [read_case(folder, name) for name in names]


def _upright(image: Image) -> Image:
    return Reorientation.to_canonical(image.grid).image(image)
