"""Random numbers and smooth random fields, each from a generator given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(low: float, high: float, random: torch.Generator) -> float:
    """Return a number between ``low`` and ``high``."""
    return low + (high - low) * float(torch.rand((), generator=random, device=random.device))


def chance(share: float, random: torch.Generator) -> bool:
    """Return true in a ``share`` of cases."""
    return uniform(0.0, 1.0, random) < share


def choice(count: int, random: torch.Generator) -> int:
    """Return a number from 0 to below ``count``."""
    return int(torch.randint(count, (), generator=random, device=random.device))


def smooth_noise(channels: int, size: Sequence[int], knots: int, random: torch.Generator) -> Tensor:
    """Return normal noise at ``knots`` points per axis, interpolated in between: ``(1, channels, *size)``.

    Linear twice over, the second time on the way from half size, so that its slope has no visible jumps.
    """
    mode = "bilinear" if len(size) == 2 else "trilinear"
    coarse = torch.randn(1, channels, *[knots] * len(size), generator=random, device=random.device)
    between = [max(knots, (n + 1) // 2) for n in size]
    half = F.interpolate(coarse, size=between, mode=mode, align_corners=True)
    kernel = [1 + 2 * max(1, n // (4 * knots)) for n in between]
    pool = F.avg_pool2d if len(size) == 2 else F.avg_pool3d
    padded = F.pad(half, [k // 2 for k in reversed(kernel) for _ in (0, 1)], mode="replicate")
    return F.interpolate(pool(padded, kernel, 1), size=list(size), mode=mode, align_corners=True)
