"""Each volume's own frame, and where its mass lies in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from regcore.grid import Grid, Matrix
from regcore.image import Image, Reorientation
from regcore.transform import AffineTransform, RigidTransform


@dataclass(frozen=True)
class Frame:
    """The axes of one volume, with its centre at 0: world to frame is ``axes^T (x - centre)``.

    Attributes:
        axes: columns are the frame's axes in the world, a rotation.
        centre: the volume's centre in the world (mm).
    """

    axes: Matrix
    centre: Matrix

    @classmethod
    def of(cls, grid: Grid) -> Frame:
        """Return the frame of a grid, its axes in canonical order and right-handed however the voxels are stored."""
        axes = Reorientation.to_canonical(grid).grid(grid).axes
        handed = np.ones(grid.dim)
        handed[-1] = np.sign(np.linalg.det(axes))
        return cls(axes * handed, grid.centre)

    def image(self, image: Image) -> Image:
        """Return the same voxels placed in this frame."""
        grid = image.grid
        origin = self.axes.T @ (np.asarray(grid.origin) - self.centre)
        return Image(image.data, Grid.of(grid.size, grid.spacing, origin.tolist(), self.axes.T @ grid.axes))

    @property
    def from_world(self) -> RigidTransform:
        """World to frame."""
        return RigidTransform(self.axes.T, -self.centre, self.centre)


def to_world(local: AffineTransform, fixed: Frame, moving: Frame) -> AffineTransform:
    """Turn a map from the fixed to the moving frame into one of the world, rigid if it was."""
    full = moving.from_world.inverse().homogeneous @ local.homogeneous @ fixed.from_world.homogeneous
    world = AffineTransform.from_homogeneous(full, fixed.centre)
    rigid = isinstance(local, RigidTransform)
    return RigidTransform(world.matrix, world.translation, world.centre) if rigid else world


def to_frames(world: AffineTransform, fixed: Frame, moving: Frame) -> AffineTransform:
    """Turn a map of the world into one from the fixed to the moving frame, rigid if it was."""
    full = moving.from_world.homogeneous @ world.homogeneous @ fixed.from_world.inverse().homogeneous
    local = AffineTransform.from_homogeneous(full)
    rigid = isinstance(world, RigidTransform)
    return RigidTransform(local.matrix, local.translation, local.centre) if rigid else local


def centre_of_mass(image: Image) -> Matrix:
    """Return the intensity-weighted centre (mm), the darkest value counting as 0."""
    weight = image.data.double() - float(image.data.min())
    index = []
    for axis in reversed(range(image.dim)):
        line = weight.sum(dim=[a for a in range(image.dim) if a != axis])
        index.append(float((line * torch.arange(len(line))).sum() / line.sum()))
    return image.grid.to_world(index)
