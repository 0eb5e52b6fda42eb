"""How the frames of a series lie in its file: cut out to be registered, and results put back where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from regcore.field import DisplacementField
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.io import VolumeSeries
from regcore.series import frames_of
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, Transform

_FEWEST = 2


@dataclass(frozen=True)
class Plane:
    """The plane of a single slice in space; its own x and y run along the slice's first two axes.

    Attributes:
        grid: of the slice, 3D, with one voxel along the last axis.
    """

    grid: Grid

    @cached_property
    def axes(self) -> Matrix:
        """Columns are the plane's x, y and normal; orthonormal to the last digit, which headers are not."""
        left, _, right = np.linalg.svd(self.grid.axes)
        return np.asarray(left @ right)

    @cached_property
    def _origin(self) -> Matrix:
        return np.asarray(self.axes.T @ self.grid.origin)

    def cut(self, volume: Image) -> Image:
        """Return the slice as a 2D image in the plane."""
        grid = Grid.of(self.grid.size[:2], self.grid.spacing[:2], self._origin[:2].tolist())
        return Image(volume.data[0].clone(), grid, volume.pixel_type)

    def lift(self, image: Image) -> Image:
        """Return a 2D image of the slice's pixels as a volume of one slice, in space."""
        return Image(image.data[None], self.grid, image.pixel_type)

    def lift_transform(self, flat: Transform) -> Transform:
        """Return a transform within the plane as one of space; across the plane nothing moves.

        Raises:
            TypeError: it is of a kind that no registration makes.
        """
        if isinstance(flat, CompositeTransform):
            return CompositeTransform(tuple(self.lift_transform(part) for part in flat.parts))
        if isinstance(flat, AffineTransform):
            linear = self.axes @ _with_normal(flat.matrix) @ self.axes.T
            return type(flat).of(linear, self.axes[:, :2] @ flat.translation, self.axes[:, :2] @ flat.centre)
        if isinstance(flat, DenseTransform):
            return DenseTransform(self._lift_field(flat.field))
        raise TypeError(f"transform: cannot put {type(flat).__name__} into space")

    def _lift_field(self, flat: DisplacementField) -> DisplacementField:
        grid = flat.grid
        origin = self.axes @ [*grid.origin, self._origin[2]]
        axes = self.axes @ _with_normal(grid.axes)
        vectors = torch.as_tensor(self.axes[:, :2]).to(flat.data) @ flat.data.reshape(2, -1)
        return DisplacementField(
            vectors.reshape(3, 1, *grid.shape),
            Grid.of((*grid.size, 1), (*grid.spacing, self.grid.spacing[2]), origin.tolist(), axes),
        )


@dataclass(frozen=True)
class SeriesLayout:
    """A series as its file has it, and the frames that are registered.

    Attributes:
        stored: a volume whose third axis is time, or volumes over time.
        frames: 2D; 3D where the volumes have several slices.
        plane: of the single slice of volumes over time; None for others.
    """

    stored: Image | VolumeSeries
    frames: tuple[Image, ...]
    plane: Plane | None = None

    @classmethod
    def of(cls, stored: Image | VolumeSeries) -> SeriesLayout:
        """Find the frames.

        Raises:
            ValueError: there are fewer than two, or the image has no third axis.
        """
        if isinstance(stored, Image):
            return cls(stored, tuple(frames_of(stored)))
        first = stored.volumes[0]
        if len(stored.volumes) < _FEWEST:
            raise ValueError(f"series: expected 2 frames or more, got one slice of a volume, size {first.grid.size}")
        if first.grid.size[2] > 1:
            return cls(stored, stored.volumes)
        plane = Plane(first.grid)
        return cls(stored, tuple(plane.cut(volume) for volume in stored.volumes), plane)

    @property
    def in_space(self) -> bool:
        """Whether transforms are in the space of the file; if not, in mm along its rows and columns."""
        if isinstance(self.stored, VolumeSeries):
            return True
        return np.allclose(self.frames[0].grid.axes, self.stored.grid.axes[:2, :2])

    @property
    def grid(self) -> Grid:
        """Where a frame lies in the file: 2D where the third axis is time."""
        return self.stored.volumes[0].grid if isinstance(self.stored, VolumeSeries) else self.frames[0].grid

    def several(self, other: Image | VolumeSeries) -> Sequence[Image]:
        """Return what another file holds for frames of this series, one image or one for each, as it lies in it."""
        if isinstance(self.stored, VolumeSeries):
            return other.volumes if isinstance(other, VolumeSeries) else [other]
        if isinstance(other, VolumeSeries):
            return [frame for volume in other.volumes for frame in frames_of(volume)[:1]]
        return frames_of(other) if other.dim > self.frames[0].dim else [other]

    def frame(self, image: Image) -> Image:
        """Return an image on `grid` as the frames are registered."""
        return self.plane.cut(image) if self.plane else image

    def transform(self, found: Transform) -> Transform:
        """Return the transform of a frame in the space of the file."""
        return self.plane.lift_transform(found) if self.plane else found

    def together(self, images: Sequence[Image]) -> Image | VolumeSeries:
        """Return an image for each frame as one series, stored as this one is."""
        if isinstance(self.stored, Image):
            return self.stored.with_data(torch.stack([image.data for image in images]), images[0].pixel_type)
        plane = self.plane
        return self.stored.with_volumes([plane.lift(image) for image in images] if plane else images)


def _with_normal(flat: Matrix) -> Matrix:
    """Return a ``(2, 2)`` matrix as one of space that leaves the third axis alone."""
    full = np.eye(3)
    full[:2, :2] = flat
    return full
