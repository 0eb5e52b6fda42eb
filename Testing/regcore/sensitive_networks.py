"""Small deformable networks whose slopes are known."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.base import Prediction, RegistrationModel


class Smooth(RegistrationModel):
    """Two layers with a tanh between them: smooth everywhere, every voxel counting for its neighbours."""

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions, 1)
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.layers = nn.Sequential(
            convolution(2, 4, 3, padding=1), nn.Tanh(), convolution(4, dimensions, 3, padding=1)
        )

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the displacement in the type of the images: the base would round it to float32."""
        return Prediction(self.layers(torch.cat([fixed, moving], dim=1)), {})


class Brightness(RegistrationModel):
    """Displaces by the squared intensities round about, so it hangs on what is bright and on nothing else.

    Args:
        dimensions: number of axes.
        of_fixed: how much the fixed image counts.
        of_moving: how much the moving image counts.
    """

    def __init__(self, dimensions: int, of_fixed: float = 1.0, of_moving: float = 1.0) -> None:
        super().__init__(dimensions, 1)
        self.shares = nn.Parameter(torch.tensor([float(of_fixed), float(of_moving)]))
        self.counts = of_fixed != 0, of_moving != 0

    def predict(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Move along the last axis alone."""
        pool = F.avg_pool2d if self.dimensions == 2 else F.avg_pool3d
        found = torch.zeros_like(fixed)
        for image, share, counts in zip((fixed, moving), self.shares, self.counts, strict=True):
            if counts:
                found = found + share * pool(image.square(), 3, stride=1, padding=1)
        still = found.new_zeros(len(found), self.dimensions - 1, *found.shape[2:])
        return Prediction(torch.cat([still, found], dim=1), {})
