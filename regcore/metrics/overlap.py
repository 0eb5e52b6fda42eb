"""Overlap of two label maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MOST_DIRECT_LABELS = 2048  # the joint table of this many labels is 32 MiB; beyond it labels are renumbered first


def dsc(fixed_labels: Tensor, warped_labels: Tensor, labels: Sequence[int] | None = None) -> dict[int, float]:
    """Dice similarity coefficient ``2 |A & B| / (|A| + |B|)`` of each label, in one pass over the voxels.

    Args:
        fixed_labels: ``(*shape)``, integers.
        warped_labels: ``(*shape)``, integers.
        labels: which ones; by default all found in either map except 0.

    Returns:
        The coefficient per label, 0 to 1; nan for a label found in neither map.

    Raises:
        ValueError: the shapes differ, or a map holds fractions.
    """
    check_pair(fixed_labels, warped_labels)
    values, joint = _joint_counts(fixed_labels.reshape(-1), warped_labels.reshape(-1))
    sizes = joint.sum(dim=0) + joint.sum(dim=1)
    rows = zip(values.tolist(), joint.diagonal().tolist(), sizes.tolist(), strict=True)
    found = {value: 2 * both / size for value, both, size in rows if size > 0}
    wanted = [label for label in found if label != 0] if labels is None else [int(label) for label in labels]
    return {label: found.get(label, float("nan")) for label in wanted}


def check_pair(fixed_labels: Tensor, warped_labels: Tensor) -> None:
    """Refuse maps of different shapes and maps that are not integer.

    Raises:
        ValueError: as said.
    """
    if fixed_labels.shape != warped_labels.shape:
        shapes = f"{tuple(fixed_labels.shape)} and {tuple(warped_labels.shape)}"
        raise ValueError(f"warped_labels: expected the shape of fixed_labels, got {shapes}; warp onto the fixed grid")
    for name, data in (("fixed_labels", fixed_labels), ("warped_labels", warped_labels)):
        if data.is_floating_point() or data.is_complex():
            raise ValueError(f"{name}: expected integer labels, got {data.dtype}; round them first")


def _joint_counts(fixed: Tensor, warped: Tensor) -> tuple[Tensor, Tensor]:
    """Return the label values ``(n,)`` in rising order, and how many voxels have each pair of them ``(n, n)``."""
    lowest = int(min(fixed.min(), warped.min()))
    highest = int(max(fixed.max(), warped.max()))
    count = highest - lowest + 1
    if count <= _MOST_DIRECT_LABELS:
        values = torch.arange(lowest, highest + 1)
        pair = (fixed.to(torch.int64) - lowest).mul_(count).add_(warped).sub_(lowest)
    else:
        values, index = torch.unique(torch.cat([fixed, warped]).to(torch.int64), return_inverse=True)
        count = len(values)
        pair = index[: len(fixed)] * count + index[len(fixed) :]
    return values, torch.bincount(pair, minlength=count * count).reshape(count, count)
