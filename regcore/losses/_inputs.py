"""What every loss does with its inputs: precision, checks, and the mean over a mask."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


def in_full_precision(loss: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a loss compute in float32, in float64 for float64 tensors, with autocast off."""

    @wraps(loss)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(first.device.type, enabled=False):
            wide = [_widened(value) for value in args]
            return loss(*wide, **{name: _widened(value) for name, value in kwargs.items()})  # type: ignore[arg-type]

    return wrapped


def _widened(value: _T) -> _T | Tensor:
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.float()
    return value


def check_images(warped: Tensor, fixed: Tensor, mask: Tensor | None) -> None:
    """Refuse images of two shapes and a mask that does not belong to them.

    Raises:
        ValueError: as said.
    """
    if warped.shape != fixed.shape:
        shapes = f"{tuple(fixed.shape)}, got {tuple(warped.shape)}"
        raise ValueError(f"warped: expected the shape of fixed, {shapes}; warp onto the fixed grid")
    expected = (len(fixed), 1, *fixed.shape[2:])
    if mask is not None and mask.shape != expected:
        raise ValueError(f"mask: expected shape {expected}, one channel for all, got {tuple(mask.shape)}")


def check_displacement(name: str, displacement: Tensor) -> None:
    """Refuse what is not a field of one component per axis, 2D or 3D.

    Raises:
        ValueError: as said.
    """
    dim = displacement.ndim - 2
    if dim not in (2, 3) or displacement.shape[1] != dim:
        shape = tuple(displacement.shape)
        raise ValueError(f"{name}: expected (N, 2, y, x) or (N, 3, z, y, x), one component per axis, got {shape}")


def mean_inside(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of ``values`` ``(N, C, *size)`` weighted by ``mask`` ``(N, 1, *size)``, a scalar.

    Every item of the batch counts the same, however large its mask; one with an empty mask counts as 0.
    """
    if mask is None:
        return values.mean()
    axes = tuple(range(1, values.ndim))
    weights = mask.to(values)
    weight = weights.sum(axes) * values.shape[1]
    return ((values * weights).sum(axes) / weight.clamp_min(torch.finfo(values.dtype).tiny)).mean()
