"""Pairs of handwritten digits from files in the IDX format, as MNIST comes.

Reference: Wang, Delingette: Attention for Image Registration (AiR), 2021, section 3 (random pairs, any digits).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from regcore.data.batch import HELD_OUT_SEED, PairBatch, generator, stacked, to_device
from regcore.data.synthesis.noise import chance, choice

_INK = 0.5  # from which a pixel belongs to the digit
_BATCH = 250  # held-out pairs at once
_IMAGES, _LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"


@dataclass(frozen=True)
class DigitOptions:
    """Pairs of digits.

    Attributes:
        images: IDX file of the images, packed by gzip or not.
        digits: IDX file that says which digit each is; needed for ``same`` above 0.
        learn: first and last plus one of the images to learn from.
        held_out: of those to judge by.
        same: share of pairs that show the same digit.
        equal: share of pairs that show the same image twice.
        pairs_held_out: how many pairs to judge by.
    """

    images: str = ""
    digits: str = ""
    learn: tuple[int, int] = (0, 8000)
    held_out: tuple[int, int] = (8000, 10000)
    same: float = 0.0
    equal: float = 0.0
    pairs_held_out: int = 1000


class DigitSource:
    """See the module; a `regcore.data.batch.PairSource`. Label 1 is ink.

    Args:
        options: see `DigitOptions`.
        seed: of the run.

    Raises:
        ValueError: files that are no IDX files, ranges that overlap or go beyond the file.
    """

    dimensions: int = 2
    spacing_mm: float = 1.0
    labels: tuple[int, ...] = (1,)

    def __init__(self, options: DigitOptions, seed: int) -> None:
        self.options, self.seed = options, seed
        self.images = torch.from_numpy(
            read_idx(Path(options.images), _IMAGES, "digits.images").astype(np.float32) / 255
        )
        self.size = tuple(self.images.shape[1:])
        for name, (first, end) in (("learn", options.learn), ("held_out", options.held_out)):
            if not 0 <= first < end <= len(self.images):
                raise ValueError(
                    f"digits.{name}: expected a range within 0 to {len(self.images)}, got {first} to {end}"
                )
        if max(options.learn[0], options.held_out[0]) < min(options.learn[1], options.held_out[1]):
            raise ValueError("digits.held_out: it overlaps the images to learn from")
        self._places: dict[int, Tensor] = {}
        self.digits: Tensor | None = None
        if options.digits:
            self.digits = torch.from_numpy(read_idx(Path(options.digits), _LABELS, "digits.digits").astype(np.int64))
        elif options.same > 0:
            raise ValueError("digits.same: pairs of one digit need digits.digits, the file that says which is which")

    def draw(self, numbers: Sequence[int], device: torch.device) -> PairBatch:
        """Return random pairs to learn from."""
        return self._pairs([generator(self.seed, n) for n in numbers], self.options.learn, device)

    def validation(self, device: torch.device) -> Iterator[PairBatch]:
        """Yield random pairs of the held-out images, the same in every run."""
        for first in range(0, self.options.pairs_held_out, _BATCH):
            count = min(_BATCH, self.options.pairs_held_out - first)
            random = [generator(HELD_OUT_SEED, first + n) for n in range(count)]
            yield self._pairs(random, self.options.held_out, device)

    def describe(self) -> dict[str, object]:
        """Return which images."""
        name = Path(self.options.images).name
        return {
            "kind": "handwritten digits",
            "file": name,
            "learn": list(self.options.learn),
            "same": self.options.same,
        }

    def _pairs(self, randoms: Sequence[torch.Generator], among: tuple[int, int], device: torch.device) -> PairBatch:
        batch = stacked([self._pair(random, among) for random in randoms])
        return to_device(batch, device)

    def _pair(self, random: torch.Generator, among: tuple[int, int]) -> PairBatch:
        first, end = among
        fixed = first + choice(end - first, random)
        if chance(self.options.equal, random):
            moving = fixed
        elif self.digits is not None and chance(self.options.same, random):
            alike = (self.digits[first:end] == self.digits[fixed]).nonzero()[:, 0]
            moving = first + int(alike[choice(len(alike), random)])
        else:
            moving = first + choice(end - first, random)
        images = [self.images[place][None, None] for place in (fixed, moving)]
        ink = [(image[:, 0] > _INK).long() for image in images]
        return PairBatch(images[0], images[1], ink[0], ink[1])


def read_idx(path: Path, magic: bytes, name: str) -> np.ndarray:
    """Return the numbers of an IDX file of bytes.

    Args:
        path: of the file, packed by gzip or not.
        magic: its first four bytes, which tell the number of axes.
        name: of the option it was given with.

    Raises:
        ValueError: it cannot be read, or is no such file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ValueError(f"{name}: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    axes = magic[3]
    head = 4 + 4 * axes
    shape = tuple(np.frombuffer(content[4:head], ">u4").tolist())
    if content[:4] != magic or len(shape) != axes or len(content) != head + int(np.prod(shape)):
        raise ValueError(f"{name}: {path.name} is no IDX file of bytes with {axes} axes, or it is cut off")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
