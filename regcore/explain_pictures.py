"""The planes in which maps are shown over images, and how the two are put on top of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.png import HEAT, Picture, coloured, data_uri, grey, rgb
from regcore.report_pictures import PlaneViews, View
from regcore.transform import Transform
from regcore.warp import resample, warp

OUTLINE, CROSS = "#4fe0c4", "#ffffff"

_LONG_SIDE = 340  # pixels
_WAYS = (("right of", "left of"), ("anterior to", "posterior to"), ("inferior to", "superior to"))
_OPAQUE = 0.75  # share of the colour where a map is 1


@dataclass(frozen=True)
class Cut:
    """A plane through a volume, or a whole 2D image.

    Attributes:
        name: of the plane.
        sides: letters at its edges: left, right, upper, lower; empty where there are none.
        grid: its pixels; of a volume's plane one voxel thick.
        normal: the volume's axis that looks at the viewer.
    """

    name: str
    sides: str
    grid: Grid
    normal: int

    def of(self, image: Image, transform: Transform | None = None) -> NDArray:
        """Return what the plane shows of ``image``, ``(H, W)``."""
        shown = resample(image, self.grid) if transform is None else warp(image, transform, self.grid)
        return np.asarray(shown.data.reshape(self.grid.shape[-2:]).numpy())

    def through(self, found: Image) -> NDArray:
        """Return the greatest values of a map of the volume along the line of sight, as a share of its maximum."""
        strongest = found.data.amax(dim=2 - self.normal, keepdim=True).expand_as(found.data)
        return self.of(found.with_data(strongest / found.data.max()))


def cuts(volume: Grid, through: Matrix, middle_of: str) -> Iterator[Cut]:
    """Yield the axial, coronal and sagittal plane of a volume that hold the point ``through`` (mm); all of a 2D image.

    Right is on the left of axial and coronal planes, anterior on the left of sagittal ones, anterior or superior up.

    Args:
        volume: what is cut, its axes in canonical order.
        through: in its space.
        middle_of: whose middle the planes' distances are said from, as in ``the gland's``.
    """
    if volume.dim == 2:
        yield Cut("Image", "", _pixels(volume, volume.centre, 0, volume.axes, volume.extent), 2)
        return
    down_body = -np.sign(volume.axes[2, 2])  # the third axis need not run to superior
    planes = (("Axial", "RLAP", 0, 1, 2), ("Coronal", "RLSI", 0, 2, 1), ("Sagittal", "APSI", 1, 2, 0))
    for name, sides, across, down, normal in planes:
        right = volume.axes[:, across]
        below = volume.axes[:, down] * (down_body if down == 2 else 1)
        deep = volume.axes[:, normal]
        middle = volume.centre + deep * (deep @ (through - volume.centre))
        axes = np.stack([right, below, np.cross(right, below)], axis=1)
        extent = volume.extent[across], volume.extent[down]
        yield Cut(
            _placed(name, normal, volume, through, middle_of), sides, _pixels(volume, middle, 1, axes, extent), normal
        )


def over(image: NDArray, share: NDArray | None = None) -> Picture:
    """Colour ``(H, W)`` grey from 0 to 1 by a map from 0 to 1: the stronger, the less of the image shines through."""
    background = np.repeat(grey(image)[..., None], 3, axis=2)
    if share is None:
        return background
    colour = coloured(0.25 + 0.75 * share, HEAT)  # the table begins in black, which would hide the image
    weight = _OPAQUE * np.sqrt(np.clip(share, 0, 1))[..., None]
    return np.asarray(np.rint((1 - weight) * background + weight * colour), dtype=np.uint8)


def veiled(image: NDArray, share: NDArray) -> Picture:
    """Colour ``(H, W)`` grey from 0 to 1 by a map that is 0 almost nowhere: the map leads, the image shimmers through.

    In `over` bright tissue would outshine middling values of the map.
    """
    weight = np.clip(0.55 + 0.35 * share, 0, 1)[..., None]
    background = 0.75 * np.repeat(grey(image)[..., None], 3, axis=2)
    return np.asarray(np.rint((1 - weight) * background + weight * coloured(share, HEAT)), dtype=np.uint8)


def marked(picture: Picture, where: NDArray, colour: str = OUTLINE) -> Picture:
    """Paint the pixels ``where`` of a picture, which is changed."""
    picture[where] = rgb(colour)
    return picture


def outline(cut: Cut, mask: Image) -> NDArray:
    """Return the pixels of a plane at which what is above 0 in ``mask`` ends."""
    inside = torch.as_tensor(cut.of(mask.with_data((mask.data > 0).float(), "float32")) > 0.5).float()
    # Inside, with a neighbour outside.
    grown = F.max_pool2d(1 - inside[None, None], 3, stride=1, padding=1)[0, 0]
    return np.asarray(((grown > 0) & (inside > 0)).numpy())


def cross(cut: Cut, point: Matrix) -> NDArray:
    """Return the pixels of a cross with an open middle, so that it does not hide what it marks."""
    column, row = cut.grid.to_index(point)[:2]
    rows, columns = np.mgrid[: cut.grid.size[1], : cut.grid.size[0]]
    down, right = np.abs(rows - row), np.abs(columns - column)
    return np.asarray(((down <= 0.8) & (right > 4) & (right < 15)) | ((right <= 0.8) & (down > 4) & (down < 15)))


def plane(cut: Cut, views: Sequence[View], bar_mm: int) -> PlaneViews:
    """Return the pictures of a plane with a scale bar of ``bar_mm``."""
    percent = 100 * bar_mm / (cut.grid.extent[0])
    return PlaneViews(cut.name, cut.sides, tuple(views), bar_mm, round(percent, 3))


def view(title: str, picture: Picture, caption: str) -> View:
    """Return a picture with what is said about it."""
    return View(title, data_uri(picture), caption)


def _pixels(volume: Grid, middle: Matrix, thickness: int, axes: Matrix, extent: Sequence[float]) -> Grid:
    """Return square pixels about ``middle``; ``thickness`` is the number of axes beyond the plane's two."""
    pitch = max(extent) / _LONG_SIDE
    size = [max(1, round(edge / pitch)) for edge in extent] + [1] * thickness
    origin = middle - pitch * (axes[:, :2] @ ((np.asarray(size[:2]) - 1) / 2))
    return Grid.of(size, [pitch] * volume.dim, origin.tolist(), axes)


def _placed(name: str, normal: int, volume: Grid, through: Matrix, middle_of: str) -> str:
    """Say how far a plane lies from the middle of the volume."""
    along = float(volume.axes[:, normal] @ (through - volume.centre)) * float(np.sign(volume.axes[normal, normal]))
    way = _WAYS[normal][int(along > 0)]
    return f"{name}, {abs(along):.0f} mm {way} {middle_of} middle" if abs(along) >= 0.5 else name
