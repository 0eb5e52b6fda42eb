"""Label maps brought onto one grid, ready to be looked at through random deformations."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from regcore.grid import Grid, Matrix
from regcore.image import Image, Reorientation
from regcore.io import read_labels
from regcore.ops.sampling import sample
from regcore.procrustes import nearest_rotation
from regcore.transform import AffineTransform

_ENOUGH = 6  # structures for an affine map
_FLAT_MM = 20.0  # least spread of their middles along each direction


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


def read_maps(paths: Sequence[Path], size: Sequence[int], spacing_mm: float, counting: Sequence[int] = ()) -> LabelMaps:
    """Read label maps and sample each on one grid, its structures affinely brought to where they are on average.

    That is what an affine registration would leave of the differences between subjects.

    Args:
        paths: of the files.
        size: voxels per axis, array order (canonical: the last axis runs from right to left).
        spacing_mm: edge of a voxel.
        counting: label values whose middles are brought together; empty: all but 0.

    Raises:
        ValueError: a file that cannot be read, or holds no labels that count.
    """
    if not paths:
        raise ValueError("maps: expected at least one label map, got none")
    images = [
        Reorientation.to_canonical(labels.grid).image(labels) for labels in (read_labels(p, "maps") for p in paths)
    ]
    middles = [_middles(image, counting, path.name) for image, path in zip(images, paths, strict=True)]
    shared = sorted(set.intersection(*(set(found) for found in middles)))
    if not shared:
        raise ValueError("maps: expected at least one label that all maps hold, got none")
    ways = _to_average([np.stack([found[value] for value in shared]) for found in middles])
    seen = [_sampled(image, size, spacing_mm, way) for image, way in zip(images, ways, strict=True)]
    values = torch.unique(torch.cat([torch.unique(image) for image in seen]))
    values = torch.cat([torch.zeros(1, dtype=values.dtype), values[values != 0]])
    order = torch.argsort(values)
    numbered = [order[torch.searchsorted(values[order], image)] for image in seen]
    return LabelMaps(tuple(path.name for path in paths), tuple(numbered), tuple(int(v) for v in values))


def _middles(labels: Image, counting: Sequence[int], name: str) -> dict[int, Matrix]:
    """Return the middle (mm) of each label that counts."""
    values = labels.data.flatten()
    where = values.nonzero()[:, 0]
    present, which = torch.unique(values[where], return_inverse=True)
    shape = labels.data.shape
    axes = torch.stack([where // (shape[1] * shape[2]), where // shape[2] % shape[1], where % shape[2]]).double()
    counts = torch.zeros(len(present), dtype=torch.float64).index_add_(0, which, torch.ones_like(axes[0]))
    sums = torch.zeros(3, len(present), dtype=torch.float64).index_add_(1, which, axes)
    middles = labels.grid.to_world((sums / counts).flip(0).T.numpy())
    found = {int(v): m for v, m in zip(present, middles, strict=True) if not counting or int(v) in counting}
    if not found:
        raise ValueError(f"maps: {name} holds no labels that count")
    return found


def _to_average(points: Sequence[Matrix]) -> list[AffineTransform]:
    """Return the maps from the average of point sets, about its middle, to each: affine, or a shift of few points."""
    centred = [found - found.mean(axis=0) for found in points]
    upright = [found @ nearest_rotation(found.T @ centred[0]) for found in centred]
    average = np.mean(upright, axis=0)
    enough = len(average) >= _ENOUGH and np.linalg.matrix_rank(average, tol=_FLAT_MM) == 3
    ways = []
    for found, about in zip(points, centred, strict=True):
        linear = np.linalg.lstsq(average, about, rcond=None)[0].T if enough else np.eye(3)
        ways.append(AffineTransform(linear, found.mean(axis=0), np.zeros(3)))
    return ways


def _sampled(labels: Image, size: Sequence[int], spacing_mm: float, way: AffineTransform) -> Tensor:
    """Return the labels at the voxels of a grid about the origin, looked at through ``way``."""
    grid = Grid.of(tuple(size)[::-1], (spacing_mm,) * 3)
    about = Grid.of(grid.size, grid.spacing, (-grid.centre).tolist())
    index = labels.grid.to_index(way(about.points().numpy()))
    coordinates = torch.as_tensor(index).flip(-1).movedim(-1, 0)[None].float()
    return sample(labels.data[None, None].float(), coordinates, "nearest")[0, 0].round().long()
