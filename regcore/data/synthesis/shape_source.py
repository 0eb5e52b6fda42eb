"""Pairs from nothing: random shapes, each image a bent view of them in greys of its own.

Reference: Hoffmann et al., "SynthMorph", IEEE TMI 41, 2022, section III-B ("sm-shapes"). Written anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.data.batch import HELD_OUT_SEED, PairBatch, generator, stacked
from regcore.data.synthesis.deformation import DeformationOptions, random_coordinates
from regcore.data.synthesis.intensities import IntensityOptions, image_of, random_greys
from regcore.data.synthesis.noise import chance, choice, smooth_noise, uniform
from regcore.ops.sampling import sample


@dataclass(frozen=True)
class ShapeOptions:
    """Pairs from nothing.

    Attributes:
        size: voxels per axis, array order; two numbers: pictures.
        spacing_mm: edge of a voxel.
        shapes: fewest and most shapes.
        knots: fewest and most points per axis that a shape's outline is drawn at.
        empty: share of samples with black around the shapes.
        pairs_held_out: how many pairs to judge by.
        deformation: of each image.
        intensities: of each image.
    """

    size: tuple[int, ...] = (80, 80, 80)
    spacing_mm: float = 2.0
    shapes: tuple[int, int] = (8, 26)
    knots: tuple[int, int] = (4, 12)
    empty: float = 0.5
    pairs_held_out: int = 4
    deformation: DeformationOptions = field(default_factory=lambda: DeformationOptions(bend=4.0))
    intensities: IntensityOptions = field(default_factory=IntensityOptions)


class ShapeSource:
    """See the module; a `regcore.data.batch.PairSource`.

    Args:
        options: see `ShapeOptions`.
        seed: of the run.
    """

    def __init__(self, options: ShapeOptions, seed: int) -> None:
        self.options, self.seed = options, seed
        self.dimensions, self.size, self.spacing_mm = len(options.size), options.size, options.spacing_mm
        self.labels = tuple(range(1, options.shapes[1] + 1))

    def draw(self, numbers: Sequence[int], device: torch.device) -> PairBatch:
        """Return pairs of new shapes."""
        return stacked([self._pair(generator(self.seed, number, device)) for number in numbers])

    def validation(self, device: torch.device) -> Iterator[PairBatch]:
        """Yield pairs of shapes that no run learns from."""
        for number in range(self.options.pairs_held_out):
            yield self._pair(generator(HELD_OUT_SEED, number, device))

    def describe(self) -> dict[str, object]:
        """Return how pairs are made."""
        return {"kind": "synthesised from random shapes", "shapes": list(self.options.shapes)}

    def _pair(self, random: torch.Generator) -> PairBatch:
        options = self.options
        shapes = self._shapes(random)
        seen = []
        for _ in range(2):
            where = random_coordinates(self.size, options.deformation, random)
            seen.append(sample(shapes[None, None].float(), where, "nearest")[0, 0].round().long())
        count = options.shapes[1] + 1
        greys = random_greys(count, options.intensities, random)
        same = chance(options.intensities.same_contrast, random)
        other = greys if same else random_greys(count, options.intensities, random)
        images = [
            image_of(labels, grey, options.intensities, random)
            for labels, grey in zip(seen, (greys, other), strict=True)
        ]
        return PairBatch(images[0], images[1], seen[0][None], seen[1][None])

    def _shapes(self, random: torch.Generator) -> Tensor:
        """Return a map of shapes, ``(*size)``: at each voxel the one whose noise is the strongest."""
        low, high = self.options.shapes
        count = low + choice(high - low + 1, random)
        knots = round(uniform(*self.options.knots, random))
        found = smooth_noise(count, self.size, knots, random)[0].argmax(dim=0) + 1
        if not chance(self.options.empty, random):
            return found
        # A body with a smooth outline in an empty room.
        axes = [torch.linspace(-1, 1, n, device=random.device) for n in self.size]
        radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0).sqrt()
        edge = uniform(0.6, 0.9, random) + 0.12 * F.hardtanh(smooth_noise(1, self.size, 4, random)[0, 0])
        return torch.where(radius < edge, found, 0)
