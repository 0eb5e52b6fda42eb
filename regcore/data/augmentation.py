"""Changes to pairs while training: one geometric change for both images and their labels, other light for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from regcore.data.batch import PairBatch, PairSource, generator, stacked
from regcore.data.synthesis.deformation import DeformationOptions, random_coordinates
from regcore.data.synthesis.noise import chance, choice, smooth_noise, uniform
from regcore.ops.sampling import sample
from regcore.ops.smoothing import gaussian

_OTHER_STREAM = 0x5EED  # the source draws from the run's own seed


@dataclass(frozen=True)
class AugmentationOptions:
    """How much a pair may change; all at their defaults: not at all.

    Attributes:
        swap: share of pairs whose images change places.
        flip: share of pairs mirrored along each axis (last axis first); missing axes are never mirrored.
        twins: pairs of label values that change places when the last axis, left to right, is mirrored.
        crop: range of the part of each side that is kept and enlarged to the whole.
        part: voxels per axis, array order, of a box at a random place that is kept alone; none: the whole. Steps take
            less time, and a network cannot learn where in the grid things lie.
        deformation: turns, stretches, shifts and bends, the same for both images.
        gamma: greatest deviation of the logarithm of the exponent.
        bias: deviation of the logarithm of a smooth gain.
        noise: greatest deviation of added noise.
        blur: greatest Gaussian, voxels.
    """

    swap: float = 0.0
    flip: tuple[float, ...] = ()
    twins: tuple[tuple[int, int], ...] = ()
    crop: tuple[float, float] = (1.0, 1.0)
    part: tuple[int, ...] = ()
    deformation: DeformationOptions = field(
        default_factory=lambda: DeformationOptions(rotation_deg=0.0, scale=0.0, shift=0.0, bend=0.0)
    )
    gamma: float = 0.0
    bias: float = 0.0
    noise: float = 0.0
    blur: float = 0.0


class AugmentedSource:
    """A source whose pairs to learn from are changed anew each time; those to judge by stay as they are.

    Args:
        source: of the pairs.
        options: see `AugmentationOptions`.
        seed: of the run.

    Raises:
        ValueError: a range of crops that is none, or a part larger than the whole.
    """

    def __init__(self, source: PairSource, options: AugmentationOptions, seed: int) -> None:
        if not 0.2 <= options.crop[0] <= options.crop[1] <= 1:
            raise ValueError(f"augmentation.crop: expected a range such as [0.8, 1.0], got {list(options.crop)}")
        part, whole = options.part, source.size
        if part and (len(part) != len(whole) or not all(0 < a <= b for a, b in zip(part, whole, strict=True))):
            raise ValueError(
                f"augmentation.part: expected up to {list(whole)} voxels, one number per axis, got {list(part)}"
            )
        self.source, self.options, self.seed = source, options, seed ^ _OTHER_STREAM
        self.dimensions, self.size = source.dimensions, part or whole
        self.spacing_mm, self.labels = source.spacing_mm, source.labels

    def draw(self, numbers: Sequence[int], device: torch.device) -> PairBatch:
        """Return the source's samples of these numbers, changed."""
        batch = self.source.draw(numbers, device)
        pairs = [PairBatch(*(None if part is None else part[n : n + 1] for part in batch)) for n in range(len(numbers))]  # type: ignore[arg-type]
        return stacked(
            [
                augmented(pair, self.options, generator(self.seed, number, device))
                for pair, number in zip(pairs, numbers, strict=True)
            ]
        )

    def validation(self, device: torch.device) -> Iterator[PairBatch]:
        """Yield the source's held-out pairs."""
        yield from self.source.validation(device)

    def describe(self) -> dict[str, object]:
        """Return what the source says."""
        return self.source.describe()


def augmented(pair: PairBatch, options: AugmentationOptions, random: torch.Generator) -> PairBatch:
    """Return a changed pair; a known displacement and landmarks are lost.

    Args:
        pair: of one sample.
        options: see `AugmentationOptions`.
        random: of the sample.
    """
    if chance(options.swap, random):
        pair = PairBatch(
            pair.moving, pair.fixed, pair.moving_labels, pair.fixed_labels, pair.moving_mask, moving_mask=pair.mask
        )
    where, mirrored = _coordinates(pair.fixed.shape[2:], options, random)
    where = _part(where, options.part, random)
    labels = [
        None if part is None else _turned(part, where, options.twins if mirrored else ())
        for part in (pair.fixed_labels, pair.moving_labels)
    ]
    fixed, moving = (_lit(sample(image, where), options, random) for image in (pair.fixed, pair.moving))
    masks = [None if mask is None else sample(mask, where, "nearest") for mask in (pair.mask, pair.moving_mask)]
    return PairBatch(fixed, moving, labels[0], labels[1], masks[0], moving_mask=masks[1])


def _coordinates(size: Sequence[int], options: AugmentationOptions, random: torch.Generator) -> tuple[Tensor, bool]:
    """Return where each voxel looks, ``(1, D, *size)``, and whether left and right changed places."""
    where = random_coordinates(size, options.deformation, random)
    mirrored = False
    for axis, n in reversed(list(enumerate(size))):
        kept = uniform(*options.crop, random)
        shift = (1 - kept) * uniform(-0.5, 0.5, random) * (n - 1)
        middle = (n - 1) / 2
        line = middle + shift + kept * (where[:, axis] - middle)
        from_last = len(size) - 1 - axis
        if from_last < len(options.flip) and chance(options.flip[from_last], random):
            line = n - 1 - line
            mirrored |= from_last == 0
        where[:, axis] = line
    return where, mirrored


def _part(where: Tensor, part: Sequence[int], random: torch.Generator) -> Tensor:
    """Return the coordinates of a box at a random place, ``(1, D, *part)``; of all without a size."""
    for axis, kept in enumerate(part, start=2):
        where = where.narrow(axis, choice(where.shape[axis] - kept + 1, random), kept)
    return where


def _turned(labels: Tensor, where: Tensor, twins: Sequence[tuple[int, int]]) -> Tensor:
    seen = sample(labels[:, None].float(), where, "nearest")[:, 0].round().long()
    changed = seen
    for left, right in twins:
        changed = torch.where(seen == left, right, torch.where(seen == right, left, changed))
    return changed


def _lit(image: Tensor, options: AugmentationOptions, random: torch.Generator) -> Tensor:
    """Return an image in other light, [0, 1]."""
    if options.blur:
        image = gaussian(image, uniform(0, options.blur, random))
    if options.bias:
        gain = smooth_noise(1, image.shape[2:], 3, random)
        image = image * (uniform(0, options.bias, random) * gain).exp()
    if options.gamma:
        exponent = torch.tensor(uniform(-options.gamma, options.gamma, random)).exp().to(image)
        image = image.clamp(0, 1).pow(exponent)
    if options.noise:
        grain = torch.randn(image.shape, generator=random, device=random.device)
        image = image + uniform(0, options.noise, random) * grain
    return image.clamp(0, 1)
