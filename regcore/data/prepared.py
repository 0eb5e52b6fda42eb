"""From a file to voxels of the training grid: canonical order, one spacing, one size, about a middle of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from regcore.data.image_cache import Tensors
from regcore.data.manifest import IDENTITY, ImageFiles
from regcore.field import DisplacementField
from regcore.grid import Grid, Matrix
from regcore.image import Image, Reorientation
from regcore.inverse import invert
from regcore.io import read_image, read_labels, read_transform
from regcore.landmarks import Landmarks, read_landmarks
from regcore.ops.smoothing import gaussian
from regcore.preprocess import normalise
from regcore.slices import Stack
from regcore.transform import AffineTransform, Transform
from regcore.warp import warp

Centre = Literal["image", "labels", "mask"]

_COARSER = 1.5  # times an image's voxels from which on it is smoothed before it is sampled, as at registration


@dataclass(frozen=True)
class TrainingGrid:
    """The grid that every image is brought onto.

    Its axes are the image's own, in canonical order. Two numbers of a 3D image: its slices, across the longest edge of
    its voxels as at registration, each on a grid of that size; their number and distance stay.

    Attributes:
        size: voxels per axis, array order; two or three numbers.
        spacing_mm: edge of a voxel.
        centre: what lies in the middle: the image, or what its labels or mask enclose.
        labels: the values that become 1, 2, ...; others become 0.
    """

    size: tuple[int, ...]
    spacing_mm: float
    centre: Centre = "image"
    labels: tuple[int, ...] = ()

    def image(self, files: ImageFiles) -> Tensors:
        """Read and prepare one image: ``image`` float16 in [0, 1], ``labels`` uint8 or int32, ``mask`` uint8.

        Each is ``size``, or ``(slices, *size)`` if size has two numbers; what is not known is left out. ``landmarks``
        are ``(P, 3)`` float32, in the voxels of these; a flat image's lie in slice 0.

        Raises:
            ValueError: a file that cannot be read, or an empty mask or label map in the middle of which to be.
        """
        volumes = _Volumes.read(files)
        grid, axis = self.about(volumes.grid, self.middle(volumes))
        still = AffineTransform.identity(grid.dim)
        return self._seen(volumes, DisplacementField.identity(grid), axis) | _points(volumes, still, grid, axis)

    def pair(self, fixed: ImageFiles, moving: ImageFiles, initial: Path | str | None) -> Tensors:
        """Read and prepare a pair, both on the fixed image's grid: as `image`, names with ``fixed_`` or ``moving_``.

        Args:
            fixed: as for `image`.
            moving: as for `image`.
            initial: a file with the transform to look at the moving image through, ``identity``, or None: a shift
                that brings the two middles together. The moving landmarks are brought back through it.

        Raises:
            ValueError: as `image`, or a transform that cannot be read.
        """
        here, there = _Volumes.read(fixed), _Volumes.read(moving)
        middle = self.middle(here)
        grid, axis = self.about(here.grid, middle)
        transform: Transform = AffineTransform.identity(grid.dim)
        if initial is None:
            transform = AffineTransform.of(np.eye(grid.dim), self.middle(there) - middle)
        elif initial != IDENTITY:
            transform = read_transform(initial, grid, "initial_transform")
        still = AffineTransform.identity(grid.dim)
        sides = {
            "fixed": self._seen(here, DisplacementField.identity(grid), axis) | _points(here, still, grid, axis),
            "moving": self._seen(there, transform.displacement_on(grid), axis) | _points(there, transform, grid, axis),
        }
        return {f"{side}_{name}": data for side, tensors in sides.items() for name, data in tensors.items()}

    def about(self, image: Grid, middle: Matrix) -> tuple[Grid, int | None]:
        """Return the grid for an image in canonical order, and the array axis across its slices if it has any."""
        size, spacing = list(self.size), [self.spacing_mm] * len(self.size)
        axis = None
        if len(size) < image.dim:
            axis = Stack.of(image).axis
            across = image.dim - 1 - axis
            size.insert(axis, image.shape[axis])
            spacing.insert(axis, image.spacing[across])
            index = image.to_index(middle)
            index[across] = (image.size[across] - 1) / 2
            middle = image.to_world(index)
        steps = (np.asarray(size[::-1]) - 1) / 2 * np.asarray(spacing[::-1])
        return Grid.of(size[::-1], spacing[::-1], (middle - image.axes @ steps).tolist(), image.axes), axis

    def middle(self, volumes: _Volumes) -> Matrix:
        """Return what the training grid is laid about (mm)."""
        around = {"image": None, "labels": volumes.labels, "mask": volumes.mask}[self.centre]
        if self.centre == "image":
            return volumes.grid.centre
        if around is None:
            raise ValueError(
                f"centre: expected {self.centre} for {volumes.name}, there are none; choose another centre"
            )
        chosen = around.data > 0
        if self.centre == "labels":
            chosen = torch.isin(around.data, torch.tensor(self.labels))
        where = chosen.nonzero()
        if len(where) == 0:
            raise ValueError(f"centre: the {self.centre} of {volumes.name} are empty; choose another centre")
        index = (where.amin(0) + where.amax(0)).double() / 2
        return around.grid.to_world(index.flip(0).numpy())

    def _seen(self, volumes: _Volumes, field: DisplacementField, axis: int | None) -> Tensors:
        def cut(volume: Tensor) -> Tensor:
            if len(self.size) == 3:
                return volume.contiguous()
            return volume[None].contiguous() if axis is None else volume.movedim(axis, 0).contiguous()

        grid = field.grid
        found = {"image": cut(_sampled(volumes.image, field).half())}
        if volumes.labels is not None:
            there = warp(volumes.labels, field, grid, "nearest").data
            kind = torch.uint8 if len(self.labels) < 256 else torch.int32
            numbered = torch.zeros(there.shape, dtype=kind)
            for number, value in enumerate(self.labels, start=1):
                numbered[there == value] = number
            found["labels"] = cut(numbered)
        if volumes.mask is not None:
            inside = volumes.mask.with_data((volumes.mask.data > 0).to(torch.uint8))
            found["mask"] = cut(warp(inside, field, grid, "nearest").data)
        return found


@dataclass(frozen=True)
class _Volumes:
    name: str
    image: Image
    labels: Image | None
    mask: Image | None
    landmarks: Landmarks | None

    @classmethod
    def read(cls, files: ImageFiles) -> _Volumes:
        prefix = "" if files.column == "image" else f"{files.column}_"
        return cls(
            files.image.name,
            _upright(read_image(files.image, files.column)),
            None if files.labels is None else _upright(read_labels(files.labels, f"{prefix}labels")),
            None if files.mask is None else _upright(read_image(files.mask, f"{prefix}mask")),
            None if files.landmarks is None else read_landmarks(files.landmarks, f"{prefix}landmarks"),
        )

    @property
    def grid(self) -> Grid:
        return self.image.grid


def _points(volumes: _Volumes, seen_through: Transform, grid: Grid, axis: int | None) -> Tensors:
    """Return the landmarks in voxels of ``grid``, array order, the number of the slice first."""
    if volumes.landmarks is None:
        return {}
    back = invert(seen_through, grid).transform
    index = grid.to_index(back(volumes.landmarks.points))[:, ::-1]
    if grid.dim == 2:
        index = np.insert(index, 0, 0.0, axis=1)
    elif axis is not None:
        index = np.insert(np.delete(index, axis, axis=1), 0, index[:, axis], axis=1)
    return {"landmarks": torch.from_numpy(np.ascontiguousarray(index)).float()}


def _upright(image: Image) -> Image:
    return Reorientation.to_canonical(image.grid).image(image)


def _sampled(image: Image, field: DisplacementField) -> Tensor:
    """Scale, smooth along the axes on which the field's voxels are coarser, and sample."""
    data = normalise(image)
    ratios = [there / here for there, here in zip(field.grid.spacing, image.grid.spacing, strict=True)][::-1]
    if max(ratios) > _COARSER:
        data = gaussian(data[None, None], _widths(ratios))[0, 0]
    return warp(image.with_data(data), field, field.grid).data


def _widths(ratios: Sequence[float]) -> list[float]:
    return [0.4 * ratio if ratio > _COARSER else 0.0 for ratio in ratios]
