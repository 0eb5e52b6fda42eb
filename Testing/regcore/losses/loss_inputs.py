"""What the tests of losses share: small images, smooth ones, and every loss with inputs to try it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from regcore.ops.smoothing import gaussian

SIZES = {2: (6, 5), 3: (4, 5, 4)}
LARGE = {2: (12, 11), 3: (11, 12, 11)}  # for windows of 11 voxels


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return uniform noise in (0, 1), float64."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(*shape: int, sigma: float = 2.0, seed: int = 0) -> Tensor:
    """Return smooth noise between 0 and 1, float64."""
    image = gaussian(noise(*shape, seed=seed), sigma)
    return (image - image.min()) / (image.max() - image.min())


def pair(dim: int) -> tuple[Tensor, ...]:
    return noise(2, 2, *SIZES[dim], seed=1), noise(2, 2, *SIZES[dim], seed=2)


def large_pair(dim: int) -> tuple[Tensor, ...]:
    return noise(2, 1, *LARGE[dim], seed=1), noise(2, 1, *LARGE[dim], seed=2)


def displacement(dim: int) -> tuple[Tensor, ...]:
    return (3 * noise(2, dim, *SIZES[dim], seed=3) - 1.5,)


def two_displacements(dim: int) -> tuple[Tensor, ...]:
    return *displacement(dim), 2 * noise(2, dim, *SIZES[dim], seed=4) - 1


def images_and_displacement(dim: int) -> tuple[Tensor, ...]:
    return *large_pair(dim), noise(2, dim, *LARGE[dim], seed=3)


@dataclass(frozen=True)
class Case:
    """A loss as `create_loss` makes it, and what gives it inputs in 2D or 3D."""

    name: str
    inputs: Callable[[int], tuple[Tensor, ...]]
    options: dict[str, object] = field(default_factory=dict)
    dimensions: tuple[int, ...] = (2, 3)

    def __str__(self) -> str:
        return "-".join([self.name, *map(str, self.options.values())])


SIMILARITIES = [
    Case("mse", pair),
    Case("l2", pair),
    Case("ssim", pair, {"window": 3}),
    Case("ssim", large_pair),
    Case("lncc", pair, {"window": 3}),
    Case("lncc", large_pair),
    Case("nmi", pair, {"bins": 8, "value_range": (0.0, 1.0)}),
    Case("mind_ssc", pair),
]
REGULARITIES = [
    Case("diffusion", displacement),
    Case("bending_energy", displacement),
    Case("jacobian_penalty", displacement, {"scheme": "forward"}),
    Case("jacobian_penalty", displacement, {"scheme": "central"}),
]
OTHERS = [
    Case("soft_dice", pair),
    Case("inverse_consistency", two_displacements),
    Case("orthogonality", lambda dim: (noise(2, 3, 2, *SIZES[dim]) - 0.5,), {"form": "code"}),
    Case("orthogonality", lambda dim: (noise(2, 3, 2, *SIZES[dim]) - 0.5,), {"form": "paper"}),
    Case("rigid_parameters_mse", lambda dim: (noise(3, 6), noise(3, 6, seed=1)), dimensions=(3,)),
    Case("resaatt_loss", images_and_displacement),
]
EVERY = SIMILARITIES + REGULARITIES + OTHERS
