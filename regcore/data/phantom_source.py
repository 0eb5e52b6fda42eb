"""Pairs of generated phantoms, whose true displacement is known: volumes, or the slices of stacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.data.batch import PairBatch, generator, stacked, to_device
from regcore.data.phantoms import list_phantoms, make_phantom
from regcore.data.synthesis.noise import choice
from regcore.grid import Grid
from regcore.image import Image
from regcore.preprocess import Inputs, displacement_from, make_pair, registration_grid
from regcore.slices import Stack
from regcore.transform import AffineTransform
from regcore.warp import resample

_FIRST_HELD_OUT = 1_000_000  # seeds of phantoms to judge by


@dataclass(frozen=True)
class PhantomOptions:
    """Pairs of phantoms.

    Attributes:
        name: of the phantom, see ``regcore phantom``.
        subjects: how many are made to learn from, before the run begins.
        held_out: how many to judge by; no run learns from them.
        size: voxels per axis, array order, about the middle; two numbers: slices of a stack.
        spacing_mm: edge of a voxel, in the slices.
        empty: least share of a slice that its labels must cover.
    """

    name: str = "cine"
    subjects: int = 8
    held_out: int = 2
    size: tuple[int, ...] = (112, 112)
    spacing_mm: float = 1.5
    empty: float = 0.005


class PhantomSource:
    """See the module; a `regcore.data.batch.PairSource`.

    Args:
        options: see `PhantomOptions`.
        seed: of the run; the phantoms themselves are the same in every run.

    Raises:
        ValueError: an unknown phantom, none to learn from, or slices of one that is no stack.
    """

    def __init__(self, options: PhantomOptions, seed: int) -> None:
        if options.name not in list_phantoms():
            raise ValueError(f"phantom.name: expected one of {', '.join(list_phantoms())}, got {options.name}")
        if options.subjects < 1:
            raise ValueError(f"phantom.subjects: expected 1 or more, got {options.subjects}")
        self.options, self.seed = options, seed
        self.dimensions, self.size, self.spacing_mm = len(options.size), options.size, options.spacing_mm
        self._learn = self._made(range(options.subjects))
        self._judge = self._made(range(_FIRST_HELD_OUT, _FIRST_HELD_OUT + options.held_out))
        found = [torch.unique(pair.fixed_labels) for pair in self._learn if pair.fixed_labels is not None]
        self.labels = tuple(int(value) for value in torch.unique(torch.cat(found)) if value > 0)

    def draw(self, numbers: Sequence[int], device: torch.device) -> PairBatch:
        """Return randomly chosen pairs to learn from."""
        chosen = [choice(len(self._learn), generator(self.seed, number)) for number in numbers]
        return to_device(stacked([self._learn[place] for place in chosen]), device)

    def validation(self, device: torch.device) -> Iterator[PairBatch]:
        """Yield the held-out pairs one by one."""
        for pair in self._judge:
            yield to_device(pair, device)

    def describe(self) -> dict[str, object]:
        """Return which phantoms, and how many pairs they made."""
        return {
            "kind": f"{self.options.name} phantoms",
            "subjects": self.options.subjects,
            "held_out": self.options.held_out,
            "pairs": len(self._learn),
        }

    def pairs_of(self, seed: int) -> list[PairBatch]:
        """Return the pair that the phantom of that number makes, or those of its slices from the first on."""
        phantom = make_phantom(self.options.name, seed)
        images = Inputs(phantom.fixed, phantom.moving).upright()
        grid = self._grid(images.fixed.grid)
        still = AffineTransform.identity(grid.dim)
        pair = make_pair(images, still, grid)
        labels = [_labels_on(image, grid) for image in (phantom.fixed_labels, phantom.moving_labels)]
        truth = displacement_from(phantom.truth.displacement_on(grid), grid)
        if self.dimensions == grid.dim:
            parts = (pair.fixed, pair.moving, *(label[None, None].float() for label in labels), truth)
            return [self._cropped(*parts)]
        stack = Stack.of(grid)
        in_plane = [axis for axis in range(3) if axis != stack.axis]
        slices = [stack.cut(part) for part in (pair.fixed, pair.moving, *(p[None, None].float() for p in labels))]
        moved = stack.cut(truth)[:, in_plane]
        rows = ([part[n : n + 1] for part in (*slices, moved)] for n in range(len(moved)))
        made = [self._cropped(*row) for row in rows]
        return [
            p for p in made if p.fixed_labels is not None and (p.fixed_labels > 0).float().mean() >= self.options.empty
        ]

    def _made(self, seeds: range) -> list[PairBatch]:
        return [pair for seed in seeds for pair in self.pairs_of(seed)]

    def _grid(self, fixed: Grid) -> Grid:
        if self.dimensions == fixed.dim:
            return registration_grid(fixed, self.spacing_mm)
        if fixed.dim == 2 or not Stack.of(fixed).thick:
            raise ValueError(f"phantom.size: {self.options.name} is no stack of slices; give {fixed.dim} numbers")
        return Stack.of(fixed).in_plane(self.spacing_mm).grid

    def _cropped(self, *parts: Tensor) -> PairBatch:
        fixed, moving, fixed_labels, moving_labels, truth = (_about_the_middle(part, self.size) for part in parts)
        return PairBatch(fixed, moving, fixed_labels[:, 0].long(), moving_labels[:, 0].long(), None, truth)


def _labels_on(labels: Image, grid: Grid) -> Tensor:
    return resample(labels, grid, "nearest").data


def _about_the_middle(part: Tensor, size: Sequence[int]) -> Tensor:
    """Cut or fill up the axes of ``(N, C, *any)`` evenly on both sides."""
    pad: list[int] = []
    for wanted, there in reversed(list(zip(size, part.shape[2:], strict=True))):
        before = (wanted - there) // 2
        pad += [before, wanted - there - before]
    return F.pad(part, pad)
