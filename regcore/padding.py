"""Which part of an image was really seen: ultrasound fans and masked volumes are padded with one value."""

from __future__ import annotations

import torch
from torch import Tensor

from regcore.image import Image

_SUBSTANTIAL = 0.1  # of all voxels
_CORNER = 2  # voxels each way


def unpadded(image: Image) -> Image | None:
    """Return a mask of the voxels that are not padding; None when there is no substantial padding.

    Padding is the one value found in all corners of the volume, if at least a tenth of the voxels have exactly it.
    Noise keeps the air around a patient from being mistaken for padding.
    """
    value = _corner_value(image.data)
    if value is None:
        return None
    seen = image.data != value
    if float(seen.float().mean()) > 1 - _SUBSTANTIAL:
        return None
    return Image(seen.to(torch.uint8), image.grid, "uint8")


def _corner_value(data: Tensor) -> Tensor | None:
    """The value that most corners hold throughout, or None."""
    corners = [data]
    for axis, n in enumerate(data.shape):
        k = min(_CORNER, n)
        corners = [part.narrow(axis, start, k) for part in corners for start in (0, n - k)]
    constant = [part.flatten()[0] for part in corners if bool((part == part.flatten()[0]).all())]
    if len(constant) <= len(corners) // 2:
        return None
    values, counts = torch.unique(torch.stack(constant), return_counts=True)
    value: Tensor = values[counts.argmax()]
    return value
