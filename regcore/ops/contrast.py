"""One image's intensities as another's would be."""

from __future__ import annotations

import torch
from torch import Tensor

_BINS = 64
_SMOOTHNESS = 1.5  # bins


def matched(moving: Tensor, fixed: Tensor, shown: Tensor | None = None) -> Tensor:
    """Give ``moving`` the contrast of ``fixed``: each of its intensities becomes what ``fixed`` shows there on average.

    The two must lie roughly on each other. Any one-to-one change of the moving image's intensities, such as bright for
    dark, leaves the result nearly as it was. Where ``moving`` is exactly 0 there is taken to be nothing; it stays 0.

    Args:
        moving: ``(N, 1, *size)``, [0, 1].
        fixed: as ``moving``.
        shown: an image of the moving one's contrast, as ``moving``, to give the new contrast in its place: the same
            before it was brought so near, for instance.

    Returns:
        ``(N, 1, *size)``, float32, within the range of ``fixed``; its gradient by ``moving`` takes the means as given.

    Reference:
        The conditional mean behind the correlation ratio: Roche et al.: The correlation ratio as a new similarity
        measure for multimodal image registration, MICCAI 1998.
    """
    with torch.autocast(moving.device.type, enabled=False):
        there = moving if shown is None else shown
        triples = zip(moving.float(), fixed.float(), there.float(), strict=True)
        return torch.stack([_matched(*each) for each in triples])


def _matched(moving: Tensor, fixed: Tensor, shown: Tensor) -> Tensor:
    both = (moving > 0) & (fixed > 0)
    if not both.any():
        return shown.clone()
    index, share = _place(moving[both].detach())
    table = _means(index, share, fixed[both].detach())
    index, share = _place(shown)
    found = table[index] * (1 - share) + table[index + 1] * share
    return torch.where(shown > 0, found, 0)


def _place(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bin below each intensity, and how far it lies towards the next one."""
    place = image.clamp(0, 1) * (_BINS - 1)
    below = place.detach().floor().clamp_(max=_BINS - 2)
    return below.long(), place - below


def _means(index: Tensor, share: Tensor, fixed: Tensor) -> Tensor:
    """Return the mean of ``fixed`` for each bin of the moving image's intensities."""
    counts, sums = (_histogram(index, share, weight) for weight in (None, fixed))
    smooth = _kernel(fixed)
    # Intensities that hardly occur take the mean of all: a voxel's worth of it is in every bin.
    return (smooth @ sums + fixed.mean()) / (smooth @ counts + 1)


def _histogram(index: Tensor, share: Tensor, weight: Tensor | None) -> Tensor:
    """Count what lies between two bins in both, by nearness."""
    low = 1 - share if weight is None else (1 - share) * weight
    high = share if weight is None else share * weight
    return torch.bincount(index, low, _BINS) + torch.bincount(index + 1, high, _BINS)


def _kernel(like: Tensor) -> Tensor:
    at = torch.arange(_BINS, dtype=torch.float32, device=like.device)
    return torch.exp(-0.5 * ((at[:, None] - at[None, :]) / _SMOOTHNESS) ** 2)
