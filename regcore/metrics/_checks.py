"""What several metrics refuse, in one sentence each."""

from __future__ import annotations

import torch
from torch import Tensor


def check_same_shape(fixed: Tensor, warped: Tensor) -> None:
    """Refuse images of different shapes.

    Raises:
        ValueError: as said.
    """
    if fixed.shape != warped.shape:
        shapes = f"{tuple(fixed.shape)} and {tuple(warped.shape)}"
        raise ValueError(f"warped: expected the shape of fixed, got {shapes}; warp onto the fixed grid")


def check_finite(name: str, values: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        ValueError: naming ``name``.
    """
    if values.is_floating_point() and not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name}: expected finite values, found NaN or infinity; replace them and try again")
