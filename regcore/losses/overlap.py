"""Overlap of anatomical labels, where a segmentation guides the training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regcore.losses._inputs import in_full_precision


@in_full_precision
def soft_dice(warped: Tensor, fixed: Tensor, *, labels: Sequence[int] | None = None) -> Tensor:
    """Return 1 minus the mean Dice coefficient ``2 sum(w f) / (sum(w) + sum(f))`` over labels.

    A label that neither of an item's two images has is left out of its mean. Gradients need shares: warp `one_hot` of
    the moving labels linearly.

    Args:
        warped: shares of the labels ``(N, L, *size)``, 0 to 1, or a map of integers ``(N, 1, *size)``.
        fixed: likewise.
        labels: the L labels, in order of the shares; wanted where either is a map of integers.

    Returns:
        A scalar, the mean over the batch, 0 to 1; 0 where there are no labels at all.

    Raises:
        ValueError: shapes do not fit together, or ``labels`` is missing.
    """
    warped, fixed = _shares("warped", warped, labels), _shares("fixed", fixed, labels)
    if warped.shape != fixed.shape:
        raise ValueError(f"warped: expected the shares of fixed, {tuple(fixed.shape)}, got {tuple(warped.shape)}")
    space = tuple(range(2, fixed.ndim))
    both = (warped * fixed).sum(space)
    sizes = warped.sum(space) + fixed.sum(space)
    there = (sizes > 0).to(sizes)
    missed = there - 2 * both / (sizes + (1 - there))
    return (missed.sum(1) / there.sum(1).clamp_min(1)).mean()


def one_hot(label_map: Tensor, labels: Sequence[int]) -> Tensor:
    """Return a share, 0 or 1, for each of ``labels``.

    Args:
        label_map: ``(N, 1, *size)``, integers.
        labels: those wanted; others, as a rule the background 0, are left out.

    Returns:
        ``(N, len(labels), *size)``, float32.

    Raises:
        ValueError: the map has several channels or fractions, or no labels are wanted.
    """
    if label_map.is_floating_point() or label_map.shape[1] != 1:
        found = f"{tuple(label_map.shape)} of {label_map.dtype}"
        raise ValueError(f"label_map: expected integers (N, 1, *size), got {found}")
    if len(labels) == 0:
        raise ValueError("labels: expected one label or more, got none")
    return torch.cat([label_map == label for label in labels], dim=1).float()


def _shares(name: str, data: Tensor, labels: Sequence[int] | None) -> Tensor:
    if data.is_floating_point():
        return data
    if labels is None:
        raise ValueError(f"labels: expected the labels to compare, as {name} is a map of integers, got none")
    return one_hot(data, labels)
