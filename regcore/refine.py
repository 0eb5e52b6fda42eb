"""Instance optimisation: improve a displacement on the pair of images itself, coarse to fine.

Greedy compositional registration (see `regcore.greedy`) on a pyramid of the part of the grid that is not background,
and a last look for folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.forces import Force
from regcore.forces.lncc import LnccForce
from regcore.forces.mind import MindForce
from regcore.greedy import GreedyLevel
from regcore.ops.pyramid import downsample, downsample_displacement, upsample_displacement
from regcore.ops.slabs import SlabRunner, slab_runner
from regcore.ops.unfolding import unfold
from regcore.progress import Cancelled

Similarity = Literal["lncc", "mind"]
_SIGMAS: dict[Similarity, tuple[float, tuple[float, ...]]] = {
    "lncc": (1.0, (0.5, 0.45, 0.4)),
    "mind": (2.0, (0.7, 0.6, 0.5)),  # its force is noisier
}
_SMALLEST_AXIS = 16  # voxels: shorter axes are not halved
_BACKGROUND = 0.01  # intensity
_MARGIN = 8  # voxels of background kept around the foreground
_LOOK_BACK = 5  # iterations over which the similarity must have risen


@dataclass(frozen=True)
class RefineOptions:
    """How `refine` works; the defaults suit brains and images like them.

    Attributes:
        similarity: ``lncc`` for images of one modality, ``mind`` across modalities.
        iterations: at most so many per level, coarse to fine; 0 skips a level.
        finest: voxels of the given grid per voxel of the finest level (1, 2 or 4).
        window: LNCC window, voxels of the level (odd).
        update_sigma: smoothing of each update, voxels of the level; by default what suits the similarity.
        field_sigma: smoothing of the displacement after each update, voxels of the level; the last value holds for
            the finest level, the others for those before it, the first also for all coarser ones; by default what
            suits the similarity.
        step: largest update, voxels of the level, but never less than ``shortest_step``.
        shortest_step: voxels of the given grid.
        stall: a level ends when five iterations raised the similarity by less than this part of it.
    """

    similarity: Similarity = "lncc"
    iterations: tuple[int, ...] = (20, 30, 30, 6)
    finest: int = 1
    window: int = 5
    update_sigma: float | None = None
    field_sigma: tuple[float, ...] | None = None
    step: float = 0.5
    shortest_step: float = 1.0
    stall: float = 1e-4

    @property
    def sigmas(self) -> tuple[float, tuple[float, ...]]:
        """The smoothing of update and displacement, chosen or by default."""
        update, field = _SIGMAS[self.similarity]
        return update if self.update_sigma is None else self.update_sigma, self.field_sigma or field


def refine(
    fixed: Tensor,
    moving: Tensor,
    initial: Tensor | None = None,
    *,
    options: RefineOptions | None = None,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
    spacing: Sequence[float] | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Tensor:
    """Return a displacement that makes ``moving(x + u(x))`` more like ``fixed(x)``.

    Args:
        fixed: ``(N, 1, *shape)`` float32, about [0, 1], background 0.
        moving: ``(N, 1, *shape)`` on the same grid, roughly aligned.
        initial: ``(N, D, *shape)`` displacement to start from, voxels; zero when absent.
        options: see `RefineOptions`.
        fixed_mask: ``(N, 1, *shape)``, voxels of the fixed image that count.
        moving_mask: ``(N, 1, *shape)``, voxels of the moving image that count.
        spacing: voxel size per axis (array order); only ratios matter; isotropic when absent.
        progress: called with the fraction done and a message.
        cancelled: asked before each iteration.

    Returns:
        ``(N, D, *shape)`` displacement, voxels of the given grid.

    Raises:
        Cancelled: ``cancelled`` returned true.
    """
    options = options or RefineOptions()
    refined = []
    with torch.no_grad(), slab_runner(fixed.device) as run:
        watch = _Watch(run, len(fixed) * sum(options.iterations), progress, cancelled)
        for n in range(len(fixed)):
            one = _Pair(fixed, moving, initial, fixed_mask, moving_mask).each(partial(_sample_of_batch, n))
            refined.append(_refine_one(one, options, spacing or [1.0] * (fixed.ndim - 2), watch))
    return torch.cat(refined)


@dataclass(frozen=True)
class _Pair:
    """One pair of images and what comes with it; the tensors of `refine` with ``N = 1``."""

    fixed: Tensor
    moving: Tensor
    initial: Tensor | None = None
    fixed_mask: Tensor | None = None
    moving_mask: Tensor | None = None

    @property
    def start(self) -> Tensor:
        """The displacement to begin with."""
        shape = self.fixed.shape[2:]
        return self.fixed.new_zeros(1, len(shape), *shape) if self.initial is None else self.initial

    def on(self, where: tuple[slice, ...]) -> _Pair:
        """Return the part of everything that lies within ``where``."""
        return self.each(lambda tensor: _cut(tensor, where).contiguous())

    def downsample(self, factors: Sequence[int]) -> _Pair:
        """Return everything on the coarser grid."""
        coarse = self.each(lambda tensor: downsample(tensor, factors))
        if self.initial is None:
            return coarse
        return replace(coarse, initial=downsample_displacement(self.initial, factors))

    def each(self, function: Callable[[Tensor], Tensor]) -> _Pair:
        """Apply a function to every tensor there is."""
        return _Pair(
            function(self.fixed),
            function(self.moving),
            None if self.initial is None else function(self.initial),
            None if self.fixed_mask is None else function(self.fixed_mask),
            None if self.moving_mask is None else function(self.moving_mask),
        )


def _sample_of_batch(n: int, tensor: Tensor) -> Tensor:
    return tensor[n : n + 1].detach().float()


class _Watch:
    """Runs the work, counts iterations, reports them and stops when asked to."""

    def __init__(
        self,
        run: SlabRunner,
        total: int,
        progress: Callable[[float, str], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.run = run.asking(self.check)
        self._total, self._done = max(1, total), 0
        self._progress, self._cancelled = progress, cancelled

    def check(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise Cancelled

    def report(self, iterations: int, message: str) -> None:
        self._done += iterations
        if self._progress is not None:
            self._progress(self._done / self._total, message)


def _refine_one(pair: _Pair, options: RefineOptions, spacing: Sequence[float], watch: _Watch) -> Tensor:
    where = _foreground(pair)
    inside = pair.on(where)
    shape = inside.fixed.shape[2:]
    found: tuple[_Pair, Tensor] | None = None
    factors = [1] * len(shape)
    for number, iterations in enumerate(options.iterations):
        if iterations == 0:
            continue
        after = len(options.iterations) - 1 - number
        coarser, factors = factors, _factors(shape, spacing, options.finest * 2**after)
        level = inside.downsample(factors)
        ratio = [a // b for a, b in zip(coarser, factors, strict=True)]
        begin = level.start if found is None else _carried_on(*found, level, ratio)
        found = level, _run_level(level, begin, iterations, after, options, spacing, factors, watch)
    if found is None:
        return unfold(pair.start, run=watch.run)
    return _put_back(pair.start, unfold(_carried_on(*found, inside, factors), run=watch.run), where)


def _carried_on(level: _Pair, displacement: Tensor, finer: _Pair, factors: Sequence[int]) -> Tensor:
    """Bring a level's displacement to a finer one: what it gained, on the initial displacement as that one has it."""
    if all(factor == 1 for factor in factors):
        return displacement
    gain = displacement if level.initial is None else displacement - level.initial
    gain = upsample_displacement(gain, factors, finer.fixed.shape[2:])
    return gain if finer.initial is None else gain + finer.initial


def _run_level(
    level: _Pair,
    begin: Tensor,
    iterations: int,
    after: int,
    options: RefineOptions,
    spacing: Sequence[float],
    factors: Sequence[int],
    watch: _Watch,
) -> Tensor:
    """Iterate on one level, ``after`` levels before the finest, from the displacement ``begin``."""
    edges = [size * factor for size, factor in zip(spacing, factors, strict=True)]
    aspect = [min(edges) / edge for edge in edges]
    update_sigma, field_sigmas = options.sigmas
    greedy = GreedyLevel(
        _force(level, options, aspect),
        level.moving,
        begin,
        aspect=aspect,
        update_sigma=update_sigma,
        field_sigma=field_sigmas[max(0, len(field_sigmas) - 1 - after)],
        moving_mask=level.moving_mask,
        run=watch.run,
    )
    step = max(options.step, options.shortest_step * min(spacing) / min(edges))
    history: list[float] = []
    for done in range(iterations):
        watch.check()
        history.append(greedy.iterate(step))
        watch.report(1, f"1/{max(factors)} size, similarity {history[-1]:.4f}")
        if done >= _LOOK_BACK and history[-1] - history[-1 - _LOOK_BACK] <= options.stall * abs(history[-1]):
            watch.report(iterations - done - 1, f"1/{max(factors)} size, no further gain")
            break
    return greedy.displacement


def _force(level: _Pair, options: RefineOptions, aspect: Sequence[float]) -> Force:
    if options.similarity == "mind":
        return MindForce(level.fixed, level.moving, level.fixed_mask)
    # Windows are cubes in space as nearly as odd numbers of voxels allow.
    window = [2 * round((options.window * ratio - 1) / 2) + 1 for ratio in aspect]
    return LnccForce(level.fixed, window, level.fixed_mask)


def _factors(shape: Sequence[int], spacing: Sequence[float], factor: int) -> list[int]:
    """Return the block size per axis of a level: ``factor``, less on axes that are short or of thick voxels."""
    factors = []
    for size, edge in zip(shape, spacing, strict=True):
        own = 1
        while 2 * own <= factor and size // own >= _SMALLEST_AXIS and 2 * own * edge <= factor * min(spacing) * 1.5:
            own *= 2
        factors.append(own)
    return factors


def _foreground(pair: _Pair) -> tuple[slice, ...]:
    """Return the smallest box that holds both images' foreground and a margin."""
    brightest = torch.maximum(pair.fixed, pair.moving)[0, 0]
    where = []
    for size in pair.fixed.shape[2:]:
        hit = (brightest.reshape(size, -1).amax(1) > _BACKGROUND).nonzero()
        brightest = brightest.amax(0)  # the axes that follow
        first, last = (int(hit.min()), int(hit.max())) if len(hit) else (0, size - 1)
        where.append(slice(max(0, first - _MARGIN), min(size, last + 1 + _MARGIN)))
    return tuple(where)


def _put_back(start: Tensor, part: Tensor, where: tuple[slice, ...]) -> Tensor:
    """Return ``start`` with ``part`` in its place, and what ``part`` adds at its faces carried on outside."""
    sides = [(s.start, size - s.stop) for s, size in zip(where, start.shape[2:], strict=True)]
    pad = [n for side in reversed(sides) for n in side]
    return start + F.pad(part - _cut(start, where), pad, mode="replicate")


def _cut(tensor: Tensor, where: Sequence[slice]) -> Tensor:
    for axis, part in enumerate(where, start=2):
        tensor = tensor.narrow(axis, part.start, part.stop - part.start)
    return tensor
