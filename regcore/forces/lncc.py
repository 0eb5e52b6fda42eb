"""Force of the local normalised cross-correlation, for images of one modality.

With local means removed, ``cc = cov(a, w)^2 / (var(a) var(w))`` over a cubic window, as in Avants et al., "Symmetric
diffeomorphic image registration with cross-correlation", Medical Image Analysis 12(1), 2008. Its derivative with
respect to the warped intensity at the window's centre is ``2 k ((a - mean a) - cov / var(w) (w - mean w))``,
``k = cov / (var(a) var(w))``; neighbouring windows are left to the smoothing of the update, as usual.
"""

from __future__ import annotations

import torch
from torch import Tensor

from regcore.forces.gradient import gradient
from regcore.ops.smoothing import box_sum

_SMALLEST_VARIANCE = 1e-4  # of intensities in about [0, 1]: flatter windows say nothing


class LnccForce:
    """Force of LNCC towards one fixed image; what depends on the fixed image alone is computed once.

    Args:
        fixed: ``(N, 1, *shape)``, intensities about [0, 1].
        window: width of the cubic window, voxels (odd).
        mask: ``(N, 1, *shape)``, weight of each fixed voxel.
    """

    def __init__(self, fixed: Tensor, window: int = 5, mask: Tensor | None = None) -> None:
        self.fixed = fixed
        self.window = window
        self.mask = mask
        self._share = box_sum(torch.ones_like(fixed), window).reciprocal_()
        mean = box_sum(fixed, window).mul_(self._share)
        self._centred = fixed - mean
        self._mean = mean
        self._variance = self._window_mean(fixed * fixed).addcmul_(mean, mean, value=-1.0)

    def __call__(self, warped: Tensor) -> tuple[Tensor, Tensor]:
        """Return the force ``(N, D, *shape)``, pointing uphill, and the similarity to be raised (scalar).

        Args:
            warped: ``(N, 1, *shape)``.
        """
        mean = self._window_mean(warped)
        variance = self._window_mean(warped * warped).addcmul_(mean, mean, value=-1.0)
        covariance = self._window_mean(warped * self.fixed).addcmul_(mean, self._mean, value=-1.0)
        known = (self._variance > _SMALLEST_VARIANCE) & (variance > _SMALLEST_VARIANCE)
        weight = known.to(warped) if self.mask is None else known * self.mask
        variance.clamp_min_(_SMALLEST_VARIANCE)
        factor = covariance / (self._variance.clamp_min(_SMALLEST_VARIANCE) * variance) * weight
        similarity = (factor * covariance).sum() / weight.sum().clamp_min(1.0)
        slope = covariance.div_(variance)
        residual = self._centred.addcmul(slope, warped - mean, value=-1.0).mul_(factor)
        return gradient(warped).mul_(residual), similarity

    def _window_mean(self, data: Tensor) -> Tensor:
        return box_sum(data, self.window).mul_(self._share)
