"""What registration networks share: deformable ones take any image size, rigid ones the crop they were made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FixedInput = Literal["image", "label"]
Centre = Literal["crop", "mr_origin"]
Normalise = Literal["joint", "each"]
Units = Literal["mm", "crop"]

NOMINAL_SIDE_MM = 64.0


class Prediction(NamedTuple):
    """What a network says about a pair.

    Attributes:
        displacement: ``(N, D, *size)``, float32, voxels of the input, components in axis order. Pulls the
            moving image: ``warped(x) = moving(x + displacement(x))``.
        penalties: scalars by name that training may add to its loss; empty for most networks.
    """

    displacement: Tensor
    penalties: Mapping[str, Tensor]


class Recipe(NamedTuple):
    """How a network was made: its registered name and the options given with it."""

    name: str
    options: Mapping[str, object]


class RegistrationModel(nn.Module):
    """Base of the networks. A subclass writes `predict`, for sizes that are multiples of ``size_multiple``.

    Args:
        dimensions: number of spatial axes.
        size_multiple: what every side must be a multiple of inside the network.

    Attributes:
        recipe: set by `regcore.models.create_model`, written into checkpoints.
    """

    def __init__(self, dimensions: int, size_multiple: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.size_multiple = size_multiple
        self.recipe: Recipe | None = None

    def predict(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the prediction for ``(N, 1, *size)`` whose sides are multiples of ``size_multiple``."""
        raise NotImplementedError

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Register ``moving`` to ``fixed``.

        Sides that are no multiple of ``size_multiple`` are filled up with zeros at the high end and the
        displacement is cropped again.

        Args:
            fixed: ``(N, 1, *size)``, any size.
            moving: as ``fixed``.

        Raises:
            ValueError: the images do not have one shape ``(N, 1, *size)`` with the network's number of
                axes, or are empty or not floating point.
        """
        for name, image in (("fixed", fixed), ("moving", moving)):
            if image.ndim != self.dimensions + 2 or image.shape[1] != 1 or image.numel() == 0:
                raise ValueError(
                    f"{name} must be (N, 1, *size) with {self.dimensions} spatial axes, none empty, "
                    f"got {tuple(image.shape)}"
                )
            if not image.is_floating_point():
                raise ValueError(f"{name} must be floating point, got {image.dtype}; convert it with .float()")
        if fixed.shape != moving.shape:
            raise ValueError(
                "fixed and moving must have one shape, "
                f"got {tuple(fixed.shape)} and {tuple(moving.shape)}; resample one to the other's grid"
            )
        size = fixed.shape[2:]
        margin = pad_to_multiple(size, self.size_multiple)
        if any(margin):
            fixed, moving = F.pad(fixed, margin), F.pad(moving, margin)
        displacement, penalties = self.predict(fixed, moving)
        for axis, n in enumerate(size, start=2):
            displacement = displacement.narrow(axis, 0, n)
        return Prediction(displacement.float(), penalties)


class Convention(NamedTuple):
    """What the numbers that go into and come out of a rigid network mean.

    Attributes:
        fixed_input: the fixed image itself, or the mask of the organ in it.
        center: what rotations turn about: the centre of the crop, or the fixed image's first voxel (the paper's code).
        normalise: ``joint``, one minimum and maximum over both crops (the paper's code); ``each``, mean 0 and
            deviation 1 per crop.
        units: of the three translations: mm, or ``crop``: a `NOMINAL_SIDE_MM`-th of the crop's side along each axis,
            which a network can tell from voxels alone.
    """

    fixed_input: FixedInput
    center: Centre
    normalise: Normalise
    units: Units


_KNOWN = {
    "fixed_input": get_args(FixedInput),
    "center": get_args(Centre),
    "normalise": get_args(Normalise),
    "units": get_args(Units),
}


class RigidModel(nn.Module):
    """Base of the networks that find six numbers. A subclass writes `predict`.

    Args:
        input_size: sides (z, y, x) of the crop it takes.
        convention: see `Convention`.

    Attributes:
        recipe: as in `RegistrationModel`.

    Raises:
        ValueError: an unknown word in the convention.
    """

    def __init__(self, input_size: tuple[int, int, int], convention: Convention) -> None:
        super().__init__()
        for (name, known), value in zip(_KNOWN.items(), convention, strict=True):
            if value not in known:
                raise ValueError(f"{name}: expected {' or '.join(known)}, got {value!r}")
        self.input_size = input_size
        self.convention = convention
        self.recipe: Recipe | None = None

    def predict(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return ``(N, 6)`` for normalised crops ``(N, 1, *input_size)``."""
        raise NotImplementedError

    def forward(self, fixed: Tensor, moving: Tensor, side_mm: Tensor) -> Tensor:
        """Return the rigid map that takes the moving content, as it lies in the crop, onto the fixed one.

        Args:
            fixed: ``(N, 1, *input_size)``: the image or the mask, see `Convention`.
            moving: ``(N, 1, *input_size)``, resampled into the fixed crop by the current transform.
            side_mm: ``(N, 3)``, lengths of the crop along x, y, z.

        Returns:
            ``(N, 6)``: ``tx, ty, tz`` (mm) and ``ax, ay, az`` (degrees), about the convention's centre.

        Raises:
            ValueError: a crop of another size, crops that are not floating point, or batches that differ.
        """
        for name, image in (("fixed", fixed), ("moving", moving)):
            if image.ndim != 5 or image.shape[1] != 1 or tuple(image.shape[2:]) != self.input_size:
                raise ValueError(
                    f"{name}: this network takes crops (N, 1, {', '.join(map(str, self.input_size))}), "
                    f"got {tuple(image.shape)}; resample the image onto the gland's crop"
                )
            if not image.is_floating_point():
                raise ValueError(f"{name} must be floating point, got {image.dtype}; convert it with .float()")
        if len(fixed) != len(moving) or tuple(side_mm.shape) != (len(fixed), 3):
            raise ValueError(
                f"moving, side_mm: expected {len(fixed)} crops like fixed and sides ({len(fixed)}, 3) in mm, "
                f"got {len(moving)} and {tuple(side_mm.shape)}"
            )
        found = self.predict(*normalised(fixed, moving, self.convention.normalise))
        if self.convention.units == "mm":
            return found
        return torch.cat([found[:, :3] * (side_mm / NOMINAL_SIDE_MM), found[:, 3:]], dim=1)


def normalised(fixed: Tensor, moving: Tensor, how: Normalise) -> tuple[Tensor, Tensor]:
    """Scale the intensities of crops ``(N, 1, *size)`` as `Convention` says; a crop of one value becomes 0."""
    if how == "each":
        return _standardised(fixed), _standardised(moving)
    both = torch.cat([fixed, moving], dim=1).flatten(1)
    low, high = (value.view(-1, 1, 1, 1, 1) for value in (both.amin(dim=1), both.amax(dim=1)))
    width = (high - low).clamp_min(1e-6)
    return (fixed - low) / width, (moving - low) / width


def _standardised(crop: Tensor) -> Tensor:
    dims = (1, 2, 3, 4)
    centred = crop - crop.mean(dim=dims, keepdim=True)
    return centred / centred.square().mean(dim=dims, keepdim=True).sqrt().clamp_min(1e-6)


Network = RegistrationModel | RigidModel


def pad_to_multiple(size: Sequence[int], multiple: int) -> list[int]:
    """Return the argument of `torch.nn.functional.pad` that fills each side up at its high end."""
    return [amount for n in reversed(size) for amount in (0, -n % multiple)]
