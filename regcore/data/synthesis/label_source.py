"""Pairs synthesised from label maps: two subjects, each bent anew, in contrasts nobody has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from regcore.data.batch import HELD_OUT_SEED, PairBatch, generator, stacked
from regcore.data.synthesis.deformation import DeformationOptions, random_coordinates
from regcore.data.synthesis.intensities import (
    Greys,
    IntensityOptions,
    image_of,
    known_greys,
    random_greys,
)
from regcore.data.synthesis.maps import find_files, read_maps
from regcore.data.synthesis.noise import chance, choice, uniform
from regcore.ops.sampling import sample

_PLANES = (0.35, 0.65)  # where slices are cut, as shares of the height


@dataclass(frozen=True)
class LabelOptions:
    """Pairs from label maps.

    Attributes:
        maps: files or patterns, one map per subject.
        held_out: those to judge by.
        size: voxels per axis, array order; two numbers: slices of the maps.
        spacing_mm: edge of a voxel.
        groups: structures whose overlap counts, each a list of label values that share a grey; empty: every value by
            itself.
        outside: values that stripping removes, such as skull and skin.
        strip: share of samples without them, in both images.
        contrast: rows of label, mean and deviation of a known contrast, such as T1.
        contrast_share: of images in that contrast.
        one_subject: share of pairs whose two images show one subject.
        pairs_held_out: how many pairs to judge by.
        deformation: of each image.
        intensities: of each image.
    """

    maps: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    size: tuple[int, ...] = (80, 96, 80)
    spacing_mm: float = 2.0
    groups: tuple[tuple[int, ...], ...] = ()
    outside: tuple[int, ...] = ()
    strip: float = 0.5
    contrast: tuple[tuple[float, float, float], ...] = ()
    contrast_share: float = 0.3
    one_subject: float = 0.0
    pairs_held_out: int = 4
    deformation: DeformationOptions = field(default_factory=DeformationOptions)
    intensities: IntensityOptions = field(default_factory=IntensityOptions)


class LabelSource:
    """See the module; a `regcore.data.batch.PairSource`.

    Args:
        options: see `LabelOptions`.
        seed: of the run.

    Raises:
        ValueError: no maps, files that cannot be read, or a map to learn from that is held out as well.
    """

    def __init__(self, options: LabelOptions, seed: int) -> None:
        self.options, self.seed = options, seed
        self.dimensions, self.size, self.spacing_mm = len(options.size), options.size, options.spacing_mm
        learn, judge = (
            find_files(patterns, name)
            for name, patterns in (("labels.maps", options.maps), ("labels.held_out", options.held_out))
        )
        both = sorted({path.resolve() for path in learn} & {path.resolve() for path in judge})
        if both:
            raise ValueError(f"labels.held_out: {both[0].name} is among the maps to learn from; leave it out of one")
        size = options.size if self.dimensions == 3 else (max(options.size), *options.size)
        counting = [value for group in options.groups for value in group]
        self.maps = read_maps([*learn, *judge], size, options.spacing_mm, counting)
        self.learn, self.judge = range(len(learn)), range(len(learn), len(learn) + len(judge))
        groups = options.groups or tuple((value,) for value in self.maps.values[1:])
        self.labels = tuple(range(1, len(groups) + 1))
        self._group = self.maps.table(groups)
        self._alike = _first_of_group(self._group)
        self._outside = self.maps.table([options.outside]) > 0
        self._contrast = [
            (self.maps.values.index(int(label)), mean, spread)
            for label, mean, spread in options.contrast
            if int(label) in self.maps.values
        ]

    def draw(self, numbers: Sequence[int], device: torch.device) -> PairBatch:
        """Return synthesised pairs of the maps to learn from."""
        return stacked([self._pair(self.learn, generator(self.seed, number, device)) for number in numbers])

    def validation(self, device: torch.device) -> Iterator[PairBatch]:
        """Yield synthesised pairs of the held-out maps, the same in every run."""
        for number in range(self.options.pairs_held_out if len(self.judge) else 0):
            yield stacked([self._pair(self.judge, generator(HELD_OUT_SEED, number, device))])

    def describe(self) -> dict[str, object]:
        """Return what the maps are and how pairs are made of them."""
        names = self.maps.names
        return {
            "kind": "synthesised from label maps",
            "maps": [names[place] for place in self.learn],
            "held_out": [names[place] for place in self.judge],
            "structures": len(self.labels),
        }

    def _pair(self, among: range, random: torch.Generator) -> PairBatch:
        first = among[choice(len(among), random)]
        others = [place for place in among if place != first] or [first]
        second = first if chance(self.options.one_subject, random) else others[choice(len(others), random)]
        stripped = bool(self._outside.any()) and chance(self.options.strip, random)
        level = uniform(*_PLANES, random)
        numbers = [self._seen(self.maps.maps[place], level, random) for place in (first, second)]
        if stripped:
            outside = self._outside.to(random.device)
            numbers = [torch.where(outside[seen], 0, seen) for seen in numbers]
        greys = self._greys(random)
        other = greys if chance(self.options.intensities.same_contrast, random) else self._greys(random)
        images = [
            image_of(seen, grey, self.options.intensities, random)
            for seen, grey in zip(numbers, (greys, other), strict=True)
        ]
        group = self._group.to(random.device)
        return PairBatch(images[0], images[1], group[numbers[0]][None], group[numbers[1]][None])

    def _seen(self, labels: Tensor, level: float, random: torch.Generator) -> Tensor:
        if self.dimensions == 2:
            labels = labels[round(level * (len(labels) - 1))]
        coordinates = random_coordinates(self.size, self.options.deformation, random)
        data = labels.to(random.device)[None, None].float()
        return sample(data, coordinates, "nearest")[0, 0].round().long()

    def _greys(self, random: torch.Generator) -> Greys:
        count = len(self.maps.values)
        if self._contrast and chance(self.options.contrast_share, random):
            return known_greys(self._contrast, count, random)
        mean, deviation = random_greys(count, self.options.intensities, random)
        return mean[self._alike.to(mean.device)], deviation[self._alike.to(mean.device)]


def _first_of_group(group: Tensor) -> Tensor:
    """Return, for each number, the first one in its group; one in no group is by itself."""
    first: dict[int, int] = {}
    return torch.tensor([first.setdefault(g, n) if g else n for n, g in enumerate(group.tolist())])
