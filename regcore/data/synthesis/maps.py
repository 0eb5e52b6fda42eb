"""Label maps brought onto one grid, ready to be looked at through random deformations."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.io import read_labels
from regcore.warp import resample


@dataclass(frozen=True)
class LabelMaps:
    """Label maps on one grid.

    Attributes:
        names: of the files.
        maps: each ``(*size)``, int64; a number in place of each label value, 0 is background.
        values: the label value of each number.
    """

    names: tuple[str, ...]
    maps: tuple[Tensor, ...]
    values: tuple[int, ...]

    def table(self, groups: Sequence[Sequence[int]]) -> Tensor:
        """Return, for each number, which group its value is in, from 1; 0: none."""
        of = {value: place for place, group in enumerate(groups, start=1) for value in group}
        return torch.tensor([of.get(value, 0) for value in self.values])


def find_files(patterns: Sequence[str], name: str) -> list[Path]:
    """Return the files that patterns such as ``labels_0*.nii.gz`` stand for, in alphabetical order each.

    Raises:
        ValueError: a pattern that no file fits; ``name`` is the option it was given with.
    """
    found: list[Path] = []
    for pattern in patterns:
        paths = sorted(glob.glob(pattern))  # noqa: PTH207 (patterns may be absolute)
        if not paths:
            raise ValueError(f"{name}: no file fits {pattern}; check the folder and the pattern")
        found += [Path(path) for path in paths]
    return found


def read_maps(paths: Sequence[Path], size: Sequence[int], spacing_mm: float, outside: Sequence[int] = ()) -> LabelMaps:
    """Read label maps and sample each on a grid about the middle of what is labelled in it.

    Args:
        paths: of the files.
        size: voxels per axis, array order (canonical: the last axis runs from right to left).
        spacing_mm: edge of a voxel.
        outside: label values that do not count for the middle, such as skin.

    Raises:
        ValueError: a file that cannot be read, or holds no labels.
    """
    if not paths:
        raise ValueError("maps: expected at least one label map, got none")
    images = [_centred(read_labels(path, "maps"), size, spacing_mm, outside, path.name) for path in paths]
    values = torch.unique(torch.cat([torch.unique(image) for image in images]))
    values = torch.cat([torch.zeros(1, dtype=values.dtype), values[values != 0]])
    order = torch.argsort(values)
    numbered = [order[torch.searchsorted(values[order], image)] for image in images]
    return LabelMaps(tuple(path.name for path in paths), tuple(numbered), tuple(int(v) for v in values))


def _centred(labels: Image, size: Sequence[int], spacing_mm: float, outside: Sequence[int], name: str) -> Tensor:
    upright = Reorientation.to_canonical(labels.grid).image(labels)
    counts = (upright.data != 0) & ~torch.isin(upright.data, torch.tensor(list(outside), dtype=upright.data.dtype))
    where = counts.nonzero()
    if not len(where):
        raise ValueError(f"maps: {name} holds no labels that count")
    middle = (where.amin(dim=0) + where.amax(dim=0)).flip(0).double() / 2
    half = upright.grid.axes @ ((torch.tensor(list(size)[::-1]).double() - 1) / 2 * spacing_mm).numpy()
    origin = upright.grid.to_world(middle.numpy()) - half
    grid = Grid.of(tuple(size)[::-1], (spacing_mm,) * len(size), origin.tolist(), upright.grid.axes)
    return resample(upright, grid, "nearest").data.long()
