"""Force of the local normalised cross-correlation, for images of one modality.

With local means removed, ``cc = cov(a, w)^2 / (var(a) var(w))`` over a window, as in Avants et al., "Symmetric
diffeomorphic image registration with cross-correlation", Medical Image Analysis 12(1), 2008. Its derivative with
respect to the warped intensity at the window's centre is ``2 k ((a - mean a) - cov / var(w) (w - mean w))``,
``k = cov / (var(a) var(w))``; what neighbouring windows add is left out, as usual: the update is smoothed anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from regcore.forces.gradient import gradient
from regcore.ops.smoothing import box_sum

_SMALLEST_VARIANCE = 1e-4  # of intensities in about [0, 1]: flatter windows say nothing


class LnccForce:
    """Force of LNCC towards one fixed image; what depends on the fixed image alone is computed once.

    Outside the image there is background, 0.

    Args:
        fixed: ``(N, 1, *shape)``, intensities about [0, 1].
        window: width of the window, voxels (odd), per axis.
        mask: ``(N, 1, *shape)``, weight of each fixed voxel.
    """

    weak = 0.3

    def __init__(self, fixed: Tensor, window: Sequence[int], mask: Tensor | None = None) -> None:
        self._window = window
        self._share = 1.0 / math.prod(window)
        self._fixed = fixed
        self._mean = self._window_mean(fixed)
        variance = self._window_mean(fixed * fixed).addcmul_(self._mean, self._mean, value=-1.0)
        known = (variance > _SMALLEST_VARIANCE).to(fixed)
        if mask is not None:
            known *= mask
        # 1 / variance, and 0 where the fixed image says nothing: one product masks and divides.
        self._inverse_variance = known / variance.clamp_min_(_SMALLEST_VARIANCE)
        self.reach = max(1, window[0] // 2)
        self.voxels = max(1.0, float(known.sum()))

    def __call__(self, warped: Tensor, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """See `regcore.forces.Force`; the similarity is ``cc``, 0 where one of the images is flat."""
        fixed, fixed_mean = self._fixed[:, :, rows], self._mean[:, :, rows]
        mean = self._window_mean(warped)
        variance = self._window_mean(warped * warped).addcmul_(mean, mean, value=-1.0)
        slope = self._window_mean(warped * fixed).addcmul_(mean, fixed_mean, value=-1.0)  # the covariance, so far
        weight = self._inverse_variance[:, :, rows] * (variance > _SMALLEST_VARIANCE)
        variance.clamp_min_(_SMALLEST_VARIANCE)
        slope.div_(variance)
        factor = weight * slope
        residual = (fixed - fixed_mean).addcmul_(slope, warped - mean, value=-1.0).mul_(factor)
        return gradient(warped).mul_(residual), factor.mul_(slope).mul_(variance)

    def _window_mean(self, data: Tensor) -> Tensor:
        # Not in place: a window of one voxel returns the data itself.
        return box_sum(data, self._window) * self._share
