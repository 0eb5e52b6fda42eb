"""Random changes of intensity for MRI and ultrasound crops, in batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_KNOTS = 6


class IntensityAugmentation:
    """Random changes of contrast, light, grain and sharpness; holes for the MRI, shadows for the ultrasound.

    Args:
        seed: of the random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def mri(self, crops: Tensor) -> Tensor:
        """Return changed crops ``(N, 1, *size)`` of values near [0, 1]: sixteen scans must not be known by heart."""
        crops = self._recoloured(crops.clamp(0, 1).pow(self._log_uniform(crops, 1.8)))
        crops = crops * (0.25 * self._smooth(crops, 4)).exp()
        crops = crops + 0.06 * self._each(crops) * self._noise(crops)
        return self._with_hole(self._blurred(crops))

    def gland(self, crops: Tensor) -> Tensor:
        """Return masks whose outline another reader might have drawn: softened and shifted a little in or out."""
        edge = 0.5 + 0.15 * self._smooth(crops, 6)
        return torch.sigmoid((crops - edge) * 12)

    def ultrasound(self, crops: Tensor) -> Tensor:
        """Return changed crops ``(N, 1, *size)`` of values in [0, 1]; where nothing was seen stays 0."""
        seen = crops > 0
        changed = crops.clamp(0, 1).pow(self._log_uniform(crops, 1.8))
        grain = F.avg_pool3d(self._noise(crops), 3, 1, 1) * 3 + self._noise(crops)
        changed = changed * (1 + 0.12 * self._each(crops) * grain).clamp_min(0)
        changed = changed * (0.3 * self._smooth(crops, 4)).exp() * self._attenuation(crops) * self._shadow(crops)
        return (changed + 0.03 * self._each(crops) * self._noise(crops)).clamp_min(0) * seen

    def _recoloured(self, crops: Tensor) -> Tensor:
        """Map intensities through a random curve of six knots; half of the crops keep their own."""
        knots = torch.linspace(0, 1, _KNOTS) + 0.25 * torch.randn(len(crops), _KNOTS, generator=self.generator)
        place = crops.flatten(1) * (_KNOTS - 1)
        low = place.long().clamp_(0, _KNOTS - 2)
        share = place - low
        curve = knots.gather(1, low) * (1 - share) + knots.gather(1, low + 1) * share
        return torch.where(self._each(crops) < 0.5, curve.view_as(crops), crops)

    def _blurred(self, crops: Tensor) -> Tensor:
        """Smooth one crop of three."""
        return torch.where(self._each(crops) < 0.33, F.avg_pool3d(crops, 3, 1, 1, count_include_pad=False), crops)

    def _with_hole(self, crops: Tensor) -> Tensor:
        """Put the mean in the place of a random box, in one crop of three."""
        inside = torch.ones_like(crops, dtype=torch.bool)
        for axis, n in enumerate(crops.shape[2:]):
            line = torch.linspace(-1, 1, n).view(*[-1 if a == axis else 1 for a in range(3)])
            inside &= (line - self._signed(crops)).abs() < 0.15 + 0.35 * self._each(crops)
        inside &= self._each(crops) < 0.33
        return torch.where(inside, crops.mean(dim=(1, 2, 3, 4), keepdim=True), crops)

    def _attenuation(self, crops: Tensor) -> Tensor:
        """Light that grows or falls with depth, along the second axis (the probe lies behind the gland)."""
        depth = torch.linspace(-1, 1, crops.shape[3]).view(1, 1, 1, -1, 1)
        return (0.5 * self._signed(crops) * depth).exp()

    def _shadow(self, crops: Tensor) -> Tensor:
        """A dark band that runs away from the probe, more or less tilted, in one crop of three."""
        _, _, *size = crops.shape
        z, y, x = (torch.linspace(-1, 1, n) for n in size)
        count = (len(crops), 1, 1, 1, 1)
        middle, tilt = self._signed(crops), self._signed(crops)
        width = 0.05 + 0.15 * self._each(crops)
        away = (x.view(1, 1, 1, 1, -1) - middle - 0.5 * tilt * (1 - y.view(1, 1, 1, -1, 1))).abs()
        along = (z.view(1, 1, -1, 1, 1) - self._signed(crops)).abs()
        dark = torch.sigmoid((width - away) * 20) * torch.sigmoid((0.6 - along) * 10)
        strength = 0.8 * self._each(crops) * (torch.rand(count, generator=self.generator) < 0.33)
        return 1 - strength * dark

    def _smooth(self, like: Tensor, knots: int) -> Tensor:
        noise = torch.randn(len(like), 1, knots, knots, knots, generator=self.generator)
        return F.interpolate(noise, size=like.shape[2:], mode="trilinear", align_corners=True)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator)

    def _each(self, like: Tensor) -> Tensor:
        return torch.rand(len(like), 1, 1, 1, 1, generator=self.generator)

    def _signed(self, like: Tensor) -> Tensor:
        return 2 * self._each(like) - 1

    def _log_uniform(self, like: Tensor, most: float) -> Tensor:
        return most ** self._signed(like)
