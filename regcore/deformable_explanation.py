"""What a deformable network looks at in two images: its sensitivity to each as volumes on the grid of either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from regcore.explanation import put_back
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.inverse import invert
from regcore.models import RegistrationModel
from regcore.network_grid import MOST_VOXELS, NetworkGrid
from regcore.preprocess import Inputs, make_pair
from regcore.sensitivity import Report, Sensitivity, sensitivity, smoothed_length
from regcore.transform import Transform
from regcore.warp import resample

Side = Literal["fixed", "moving"]

DRAWS = {2: 32, 3: 8}  # by the images' axes; smoothed, the maps of two seeds then differ by some per cent
SIGMA = 1.0  # voxels

_SIDES: tuple[Side, ...] = ("fixed", "moving")


@dataclass(frozen=True)
class DeformableExplanation:
    """How much each place of both images counts for a displacement, on the network's grid.

    Attributes:
        start: the transform under which the network saw the moving image, fixed to moving points.
        fixed: sensitivity to the fixed image, mm for a change of 1 of its intensity; see `regcore.sensitivity`.
        moving: likewise to the moving image, where the start shows it.
        length: of the displacement that the network found (mm).
        region: the structures whose share is asked for, 0 or 1; None: none were given.
    """

    start: Transform
    fixed: Image
    moving: Image
    length: Image
    region: Image | None

    @property
    def grid(self) -> Grid:
        """The grid on which the network saw the pair."""
        return self.length.grid

    @property
    def peak(self) -> float:
        """The greatest value of both maps (mm)."""
        return max(float(image.data.max()) for image in (self.fixed, self.moving))

    def of(self, side: Side) -> Image:
        """Return the map of one image."""
        return self.fixed if side == "fixed" else self.moving

    def scaled(self, side: Side) -> Image:
        """Return the map of one image, 1 being the strongest place of both; all 0 if that is nowhere."""
        found, peak = self.of(side), self.peak
        return found.with_data(found.data / peak if peak > 0 else found.data)

    def volumes(self, fixed: Grid, moving: Grid) -> dict[str, Image]:
        """Return the scaled maps by name on the grids of the images; ``native`` is the moving one."""
        shown = self.scaled("moving")
        return {
            "sensitivity_fixed": put_back(self.scaled("fixed"), fixed),
            "sensitivity_moving": put_back(shown, fixed),
            "sensitivity_moving_native": put_back(shown, moving, invert(self.start, fixed).transform),
        }

    def strongest(self, side: Side) -> Matrix | None:
        """Return where a map is strongest (mm, in the fixed image's space); None for an empty map."""
        found = self.of(side)
        if not bool(found.data.any()):
            return None
        index = np.unravel_index(int(found.data.argmax()), found.grid.shape)
        return found.grid.to_world([int(n) for n in index[::-1]])

    def share_of(self, side: Side) -> float | None:
        """Return how much of the squared sensitivity to both images one has; None if neither has any."""
        parts = {name: float(self.of(name).data.double().square().sum()) for name in _SIDES}
        total = sum(parts.values())
        return parts[side] / total if total > 0 else None

    def share_in_region(self, side: Side) -> float | None:
        """Return how much of a map lies in the region; None for an empty map, or if no region was given."""
        found = self.of(side).data.double()
        total = float(found.sum())
        return float((found * self.region.data).sum()) / total if self.region is not None and total > 0 else None

    def length_at(self, point: Matrix) -> float:
        """Return the length of the displacement (mm) at the voxel nearest to a point of the fixed image."""
        return float(self.length.data[_place(point, self.grid)])

    @property
    def region_share(self) -> float | None:
        """How much of the grid the region fills: what an even map would have in it."""
        return None if self.region is None else float(self.region.data.mean())


def explain_deformable(
    network: RegistrationModel,
    inputs: Inputs,
    start: Transform,
    seen_on: NetworkGrid,
    *,
    point: Matrix | None = None,
    draws: int | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> DeformableExplanation:
    """Return what the network's displacement of a pair rests on in the images.

    Args:
        network: for images of ``seen_on.dimensions`` axes, in evaluation mode, on any device.
        inputs: the pair in canonical order; ``fixed_gland`` is the region whose share is asked for.
        start: fixed to moving points, what is known so far.
        seen_on: see `regcore.network_grid.network_grid`.
        point: of the fixed image (mm); the displacement of the voxel nearest to it counts alone. None: that of all.
        draws: see `regcore.sensitivity.sensitivity`; None: `DRAWS`.
        seed: likewise.
        report: told the fraction done and a message; what it raises ends the work.

    Raises:
        ValueError: hardly any of the fixed volume is covered by the moving one, or a point outside the grid.
    """
    place = None if point is None else _place(point, seen_on.grid)
    draws = DRAWS[inputs.fixed.dim] if draws is None else draws
    pair = make_pair(inputs, start, seen_on.grid)
    device = next(network.parameters()).device
    images = seen_on.cut(pair.fixed).to(device), seen_on.cut(pair.moving).to(device)
    seen = _slopes(network, images, seen_on, place, draws, seed, report or (lambda fraction, message: None))
    steps = seen.displacement.new_tensor(seen_on.steps).view(1, -1, *[1] * seen_on.dimensions)
    length = torch.linalg.vector_norm(seen.displacement * steps, dim=1, keepdim=True)
    maps = [seen_on.join(smoothed_length(squares, SIGMA)) for squares in (seen.fixed, seen.moving)]
    region = None
    if inputs.fixed_gland is not None:
        inside = resample(inputs.fixed_gland, seen_on.grid, "nearest")
        region = inside.with_data((inside.data > 0).float(), "float32")
    return DeformableExplanation(start, maps[0], maps[1], seen_on.join(length), region)


def _slopes(
    network: RegistrationModel,
    images: tuple[Tensor, Tensor],
    seen_on: NetworkGrid,
    place: tuple[int, ...] | None,
    draws: int,
    seed: int,
    report: Report,
) -> Sensitivity:
    """Return the slopes of a volume, or of its slices, some at a time."""
    fixed, moving = images
    stack = seen_on.stack
    if stack is None:
        return sensitivity(network, fixed, moving, seen_on.steps, voxel=place, draws=draws, seed=seed, report=report)
    inside = None if place is None else [p for axis, p in enumerate(place) if axis != stack.axis]
    at_once = max(1, MOST_VOXELS // fixed[0].numel())
    parts = []
    for first in range(0, len(fixed), at_once):

        def share(fraction: float, message: str, first: int = first) -> None:
            report(min(1.0, (first + fraction * at_once) / len(fixed)), message)

        some = slice(first, first + at_once)
        parts.append(
            sensitivity(
                network,
                fixed[some],
                moving[some],
                seen_on.steps,
                voxel=inside,
                draws=draws,
                seed=seed + first,
                report=share,
            )
        )
    whole = Sensitivity(
        torch.cat([part.fixed for part in parts]),
        torch.cat([part.moving for part in parts]),
        torch.cat([part.displacement for part in parts]),
    )
    if place is not None:
        # A voxel lies in one slice; the others were asked about their own.
        for squares in (whole.fixed, whole.moving):
            kept = squares[place[stack.axis]].clone()
            squares.zero_()[place[stack.axis]] = kept
    return whole


def _place(point: Matrix, grid: Grid) -> tuple[int, ...]:
    """Return the (k, j, i) of the voxel nearest to a point."""
    index = grid.to_index(point)
    size = np.asarray(grid.size)
    if not ((index >= -0.5 - 1e-3) & (index <= size - 0.5 + 1e-3)).all():
        raise ValueError("voxel: it lies outside the fixed image")
    return tuple(int(n) for n in np.clip(np.rint(index), 0, size - 1)[::-1])
