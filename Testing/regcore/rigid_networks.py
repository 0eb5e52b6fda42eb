"""Rigid networks without training, for tests: one that measures what it sees, one that always says the same."""

from __future__ import annotations

import torch
from torch import Tensor

from regcore.models.base import NOMINAL_SIDE_MM, Convention, RigidModel


class Moments(RigidModel):
    """Predicts the shift of the centre of mass and the turn about z of the longest axis in the x-y plane."""

    def __init__(self, size: tuple[int, int, int] = (16, 24, 24), fixed_input: str = "image") -> None:
        super().__init__(size, Convention(fixed_input, "crop", "each", "crop"))

    def predict(self, fixed: Tensor, moving: Tensor) -> Tensor:
        (to, to_angle), (at, at_angle) = self._measured(fixed), self._measured(moving)
        turn = (to_angle - at_angle + 90) % 180 - 90
        none = torch.zeros_like(turn)
        return torch.cat([(to - at) * NOMINAL_SIDE_MM, torch.stack([none, none, turn], dim=1)], dim=1)

    def _measured(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        """Return the centre as a share of the crop's sides from its middle, x, y, z, and the angle in degrees."""
        weight = crop[:, 0] - crop[:, 0].amin(dim=(1, 2, 3), keepdim=True)
        weight = weight / weight.sum(dim=(1, 2, 3), keepdim=True)
        axes = [(torch.arange(n) - (n - 1) / 2) / n for n in crop.shape[2:]]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        centre = torch.stack([(weight * axis).sum(dim=(1, 2, 3)) for axis in (x, y, z)], dim=1)
        dx, dy = (axis - centre[:, k].view(-1, 1, 1, 1) for k, axis in enumerate((x, y)))
        xx, yy, xy = ((weight * product).sum(dim=(1, 2, 3)) for product in (dx * dx, dy * dy, dx * dy))
        return centre, torch.rad2deg(0.5 * torch.atan2(2 * xy, xx - yy))


class Constant(RigidModel):
    """Predicts the same six numbers whatever it sees."""

    def __init__(
        self, parameters: list[float], center: str = "crop", units: str = "mm", size: tuple[int, int, int] = (4, 4, 4)
    ) -> None:
        super().__init__(size, Convention("image", center, "each", units))
        self.parameters_found = torch.tensor([parameters])

    def predict(self, fixed: Tensor, moving: Tensor) -> Tensor:
        return self.parameters_found.expand(len(fixed), 6)
