"""Pairs of a user's own images, as a table of them says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from regcore.data.batch import HELD_OUT_SEED, PairBatch, generator, stacked, to_device
from regcore.data.image_cache import ImageCache, Tensors, fingerprint
from regcore.data.manifest import IDENTITY, Row
from regcore.data.manifest_check import read_manifest
from regcore.data.pairs import PairPolicy, Policy, held_out
from regcore.data.prepared import Centre, TrainingGrid
from regcore.data.synthesis.noise import uniform

_SLICES_HELD_OUT = 4  # of each held-out pair of stacks


@dataclass(frozen=True)
class ImageOptions:
    """Pairs of real images.

    Attributes:
        manifest: CSV or JSON file that lists them, see `regcore.data.manifest`.
        pairs: which images are registered to which, see `regcore.data.pairs.PairPolicy`; a table of pairs needs
            ``given``.
        atlas: id of the atlas, for the two policies with one.
        phases: the two phases of each subject, for the policy of that name.
        folds: parts that subjects are dealt into, of which one is held out; 0: the column ``split`` says which are.
        fold: the one held out, from 0.
        size: voxels per axis, array order; two numbers: slices.
        spacing_mm: edge of a voxel, of a slice's pixel.
        centre: what lies in the middle of the grid: the ``image``, or what its ``labels`` or ``mask`` enclose.
        labels: values of the structures whose overlap counts; empty: all that the label maps hold.
        ignored: values that label maps may hold as well; they become background.
        slices: from where to where, as shares of a stack, slices are taken.
        pairs_held_out: how many held-out pairs to judge by at most; 0: all.
        cache: folder to keep prepared images in for later runs; empty: memory only.
    """

    manifest: str = ""
    pairs: Policy = "all"
    atlas: str = ""
    phases: tuple[str, str] = ("ED", "ES")
    folds: int = 0
    fold: int = 0
    size: tuple[int, ...] = (96, 96, 96)
    spacing_mm: float = 2.0
    centre: Centre = "image"
    labels: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()
    slices: tuple[float, float] = (0.1, 0.9)
    pairs_held_out: int = 16
    cache: str = ""


class ImageSource:
    """See the module; a `regcore.data.batch.PairSource`. Every image is read once, at the start, and kept in memory.

    Args:
        options: see `ImageOptions`.
        seed: of the run.

    Raises:
        ValueError: options that do not fit, or a table or files with mistakes, all named at once.
    """

    def __init__(self, options: ImageOptions, seed: int) -> None:
        _check(options)
        self.options, self.seed = options, seed
        self.dimensions, self.size, self.spacing_mm = len(options.size), tuple(options.size), options.spacing_mm
        cache = ImageCache(Path(options.cache) if options.cache else None)
        manifest, found = read_manifest(
            options.manifest,
            3 if self.dimensions == 3 else None,
            {*options.labels, *options.ignored} if options.labels else (),
            "images.manifest",
            cache,
        )
        self.name, self.rows = manifest.name, manifest.rows
        if manifest.pairs != (options.pairs == "given"):
            listed, advice = ("pairs", "given") if manifest.pairs else ("images", "all, or another one but given")
            raise ValueError(f"images.pairs: {manifest.name} lists {listed}; choose {advice}")
        values = tuple(options.labels) or tuple(value for value in found if value not in options.ignored)
        self.labels = tuple(range(1, len(values) + 1)) if self._have("labels") else ()
        self._masked = self._have("mask")
        self._grid = TrainingGrid(self.size, self.spacing_mm, options.centre, values)
        atlas = options.atlas if options.pairs in ("atlas_to_subject", "subject_to_atlas") else ""
        try:
            self.learn, self.judge = held_out(self.rows, options.folds, options.fold, atlas)
            self._policy = self._pairs(self.learn, seed)
            self._held_out = self._pairs(self.judge, HELD_OUT_SEED) if self.judge else None
        except ValueError as error:
            raise ValueError(f"images.{error}") from error
        self._images = self._read({*self.learn, *self.judge, *self._atlas(atlas)}, cache)
        self._check_landmarks()

    def draw(self, numbers: Sequence[int], device: torch.device) -> PairBatch:
        """Return pairs of the images to learn from."""
        pairs = []
        for number in numbers:
            fixed, moving = self._sides(self._policy.pair_of(number))
            levels = [uniform(*self.options.slices, generator(self.seed, number))]
            pairs.append(self._batch(fixed, moving, levels))
        return to_device(stacked(pairs), device)

    def validation(self, device: torch.device) -> Iterator[PairBatch]:
        """Yield the held-out pairs, the same in every run; of stacks, slices evenly spread over each.

        Of a stack's landmarks, those count that lie in the compared slices of both images, by their place there.
        """
        first, last = self.options.slices
        levels = [first + (last - first) * (n + 0.5) / _SLICES_HELD_OUT for n in range(_SLICES_HELD_OUT)]
        for number in range(self._judged):
            assert self._held_out is not None
            fixed, moving = self._sides(self._held_out.pair_of(number))
            points = _points(fixed, moving, levels if self.dimensions == 2 else None)
            batch = self._batch(fixed, moving, levels)
            yield to_device(batch._replace(fixed_points=points[0], moving_points=points[1]), device)

    def describe(self) -> dict[str, object]:
        """Return which images there are, without their folders, and how pairs are made of them."""
        return {
            "kind": "pairs of real images",
            "manifest": self.name,
            "pairs": self.options.pairs,
            "images": self._names(self.learn),
            "held_out": self._names(self.judge),
            "folds": self.options.folds,
            "fold": self.options.fold,
            "structures": len(self.labels),
            "values": list(self._grid.labels),
        }

    def _pairs(self, among: Sequence[int], seed: int) -> PairPolicy:
        return PairPolicy(self.options.pairs, self.rows, among, seed, self.options.atlas, self.options.phases)

    def _atlas(self, atlas: str) -> list[int]:
        return [place for place, row in enumerate(self.rows) if atlas and row.id == atlas]

    def _have(self, kind: str) -> bool:
        return any(getattr(files, kind) is not None for row in self.rows for files in row.images)

    @property
    def _judged(self) -> int:
        """How many held-out pairs there are to judge by."""
        count = 0 if self._held_out is None else len(self._held_out)
        return min(count, self.options.pairs_held_out or count)

    def _check_landmarks(self) -> None:
        """Refuse held-out pairs whose images do not show the same landmarks."""
        problems = []
        for number in range(self._judged):
            assert self._held_out is not None
            pair = self._held_out.pair_of(number)
            counts = [len(side["landmarks"]) for side in self._sides(pair) if "landmarks" in side]
            if len(set(counts)) > 1:
                rows = " and ".join(str(self.rows[place].number) for place in pair)
                problems.append(f"rows {rows} are a held-out pair with {counts[0]} and {counts[1]} landmarks")
        if problems:
            advice = "list the same landmarks in the same order for both"
            raise ValueError(f"images.manifest: {self.name}: {'; '.join(problems)}; {advice}")

    def _names(self, places: Sequence[int]) -> list[str]:
        return list(dict.fromkeys(files.image.name for place in places for files in self.rows[place].images))

    def _read(self, places: set[int], cache: ImageCache) -> dict[int, Tensors]:
        images, problems = {}, []
        for place in sorted(places):
            row = self.rows[place]
            try:
                images[place] = cache.get(self._fingerprint(row), partial(self._prepared, row))
            except ValueError as error:
                problems.append(f"row {row.number}: {error}")
        if problems:
            raise ValueError(f"images.manifest: {self.name}: {'; '.join(problems)}")
        return images

    def _fingerprint(self, row: Row) -> str:
        paths = [path for files in row.images for path in (files.image, files.labels, files.mask, files.landmarks)]
        initial = row.initial_transform
        paths.append(initial if isinstance(initial, Path) else None)
        return fingerprint(paths, {**asdict(self._grid), "pair": len(row.images) == 2, "still": initial == IDENTITY})

    def _prepared(self, row: Row) -> Tensors:
        if len(row.images) == 1:
            return self._grid.image(row.images[0])
        fixed, moving = row.images
        return self._grid.pair(fixed, moving, row.initial_transform)

    def _sides(self, pair: tuple[int, int]) -> tuple[Tensors, Tensors]:
        if self.options.pairs != "given":
            return self._images[pair[0]], self._images[pair[1]]
        both = self._images[pair[0]]
        return _side(both, "fixed_"), _side(both, "moving_")

    def _batch(self, fixed: Tensors, moving: Tensors, levels: Sequence[float]) -> PairBatch:
        if self.dimensions == 3:
            fixed, moving = ({name: data[None] for name, data in side.items()} for side in (fixed, moving))
        else:
            fixed, moving = _cut(fixed, moving, levels)
        return PairBatch(
            fixed["image"][:, None].float(),
            moving["image"][:, None].float(),
            fixed["labels"].long() if self.labels else None,
            moving["labels"].long() if self.labels else None,
            self._mask(fixed),
            moving_mask=self._mask(moving),
        )

    def _mask(self, side: Tensors) -> Tensor | None:
        """Return where an image counts; where some have a mask, one without counts everywhere."""
        if not self._masked:
            return None
        mask = side["mask"] if "mask" in side else torch.ones_like(side["image"])
        return mask[:, None].float()


def _check(options: ImageOptions) -> None:
    if not options.manifest:
        raise ValueError("images.manifest: expected a CSV or JSON file that lists your images, got none")
    if len(options.size) not in (2, 3) or min(options.size) < 2:
        raise ValueError(f"images.size: expected two or three numbers of at least 2, got {list(options.size)}")
    if not options.spacing_mm > 0:
        raise ValueError(f"images.spacing_mm: expected a positive edge of a voxel, got {options.spacing_mm}")
    first, last = options.slices
    if not 0 <= first <= last <= 1:
        raise ValueError(f"images.slices: expected two rising shares from 0 to 1, got {first} and {last}")
    if len(set(options.labels)) < len(options.labels) or min(options.labels, default=1) < 1:
        raise ValueError(f"images.labels: expected different numbers above 0, got {list(options.labels)}")


def _side(both: Mapping[str, Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): data for name, data in both.items() if name.startswith(prefix)}


def _slices(fixed: Tensors, moving: Tensors, levels: Sequence[float]) -> list[tuple[int, ...]]:
    """Return pairs of slices at some shares of two stacks' heights: the same ones if both have as many."""
    counts = len(fixed["image"]), len(moving["image"])
    # Thin stacks have several levels in one slice: each slice once.
    return list(dict.fromkeys(tuple(min(count - 1, int(level * count)) for count in counts) for level in levels))


def _cut(fixed: Tensors, moving: Tensors, levels: Sequence[float]) -> tuple[Tensors, Tensors]:
    ways = zip(*_slices(fixed, moving, levels), strict=True)
    cut = [
        {name: data[list(way)] for name, data in side.items() if name != "landmarks"}
        for side, way in zip((fixed, moving), ways, strict=True)
    ]
    return cut[0], cut[1]


def _points(
    fixed: Tensors, moving: Tensors, levels: Sequence[float] | None
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return the landmarks that both images have, ``(N, P, D)``; ``levels`` are those of the slices, if there are."""
    if "landmarks" not in fixed or "landmarks" not in moving:
        return None, None
    here, there = fixed["landmarks"], moving["landmarks"]
    if levels is None:
        return here[None], there[None]
    # Half a slice away is the farthest that a point of a slice can be.
    apart = [
        torch.maximum((here[:, 0] - first).abs(), (there[:, 0] - second).abs())
        for first, second in _slices(fixed, moving, levels)
    ]
    beyond = torch.stack(apart)[..., None] > 0.5
    return here[:, 1:].masked_fill(beyond, torch.nan), there[:, 1:].masked_fill(beyond, torch.nan)
