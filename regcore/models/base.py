"""What all registration networks share: any image size in, a displacement out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


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


def pad_to_multiple(size: Sequence[int], multiple: int) -> list[int]:
    """Return the argument of `torch.nn.functional.pad` that fills each side up at its high end."""
    return [amount for n in reversed(size) for amount in (0, -n % multiple)]
