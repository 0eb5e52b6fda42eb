"""explain.html: the maps of an explanation over the images, side by side as in the paper's figure 4, in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from regcore.explanation import Explanation
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.page import write_page
from regcore.png import HEAT, Picture, coloured, data_uri, grey, rgb
from regcore.preprocess import Inputs, normalise
from regcore.report_pictures import PlaneViews, View
from regcore.transform import Transform
from regcore.warp import resample, warp

_LONG_SIDE = 340  # pixels
_BAR_MM = 10
_GLAND, _CROSS = "#4fe0c4", "#ffffff"
_WAYS = (("right of", "left of"), ("anterior to", "posterior to"), ("inferior to", "superior to"))
_OPAQUE = 0.75  # share of the colour where a map is 1


@dataclass(frozen=True)
class _Cut:
    """A plane through the crop: its name, the letters at its edges, its pixels as a grid one voxel thick.

    ``normal`` is the crop's axis that looks at the viewer.
    """

    name: str
    sides: str
    grid: Grid
    normal: int

    def of(self, image: Image, transform: Transform | None = None) -> NDArray:
        """Return what the plane shows of ``image``, ``(H, W)``."""
        shown = resample(image, self.grid) if transform is None else warp(image, transform, self.grid)
        return np.asarray(shown.data[0].numpy())

    def through(self, found: Image) -> NDArray:
        """Return the greatest values of a map of the crop along the line of sight, as a share of its maximum."""
        strongest = found.data.amax(dim=2 - self.normal, keepdim=True).expand_as(found.data)
        return self.of(found.with_data(strongest / found.data.max()))


def write_explanation(folder: Path, summary: Mapping[str, Any], found: Explanation, inputs: Inputs) -> None:
    """Write ``explain.html`` into ``folder``.

    Args:
        folder: where to; it must exist.
        summary: the content of explain.json.
        found: the maps.
        inputs: the pair they belong to, with the fixed gland.

    Raises:
        ValueError: the file cannot be written.
    """
    chosen = None if summary["voxel"] is None else inputs.fixed.grid.to_world(summary["voxel"])
    write_page(
        folder / "explain.html",
        "explain.html",
        summary=summary,
        maps=list(draw_maps(found, inputs)),
        attention=[] if chosen is None else list(draw_attention(found, inputs, chosen)),
        colours=", ".join(HEAT),
        gland_colour=_GLAND,
    )


def draw_maps(found: Explanation, inputs: Inputs) -> Iterator[PlaneViews]:
    """Yield both Grad-CAM maps over their images in three planes that show much of both and of the gland."""
    fixed, moving = _shown(inputs)
    for cut in _cuts(found.crop, _telling(found)):
        still, moved = cut.of(fixed), cut.of(moving, found.transform)
        outline = _outline(cut, inputs)
        yield _plane(
            cut,
            (
                _view("Fixed", _marked(_over(still), outline), "with the gland's outline"),
                _view("Fixed, Grad-CAM", _over(still, cut.of(found.fixed)), "what the fixed branch rests on"),
                _view("Moving", _marked(_over(moved), outline), "through the current transform"),
                _view("Moving, Grad-CAM", _over(moved, cut.of(found.moving)), "what the moving branch rests on"),
            ),
        )


def draw_attention(found: Explanation, inputs: Inputs, chosen: Matrix) -> Iterator[PlaneViews]:
    """Yield the attention of the place ``chosen`` (mm) over three planes through it.

    Attention is narrow and seldom lies in one plane with its voxel, so each map is seen through from front to back.
    """
    assert found.over_fixed is not None
    assert found.over_moving is not None
    fixed, moving = _shown(inputs)
    for cut in _cuts(found.crop, chosen):
        still, moved = cut.of(fixed), cut.of(moving, found.transform)
        cross = _cross(cut, chosen)
        views = (
            ("Fixed", still, None, "the cross: the voxel chosen"),
            ("Moving, attention", moved, cut.through(found.over_moving), "what the chosen voxel attends to"),
            ("Moving", moved, None, "the cross: what lies there now"),
            ("Fixed, attention", still, cut.through(found.over_fixed), "what the moving image's cross attends to"),
        )
        drawn = (_view(title, _marked(_over(image, share), cross, _CROSS), text) for title, image, share, text in views)
        yield _plane(cut, tuple(drawn))


def _shown(inputs: Inputs) -> tuple[Image, Image]:
    fixed, moving = (image.with_data(normalise(image), "float32") for image in (inputs.fixed, inputs.moving))
    return fixed, moving


def _cuts(crop: Grid, through: Matrix) -> Iterator[_Cut]:
    """Yield the axial, coronal and sagittal plane of the crop that hold the point ``through`` (mm).

    Right is on the left of axial and coronal planes, anterior on the left of sagittal ones, anterior or superior up.
    """
    down_body = -np.sign(crop.axes[2, 2])  # the crop's third axis need not run to superior
    planes = (("Axial", "RLAP", 0, 1, 2), ("Coronal", "RLSI", 0, 2, 1), ("Sagittal", "APSI", 1, 2, 0))
    for name, sides, across, down, normal in planes:
        right = crop.axes[:, across]
        below = crop.axes[:, down] * (down_body if down == 2 else 1)
        width, height = crop.extent[across], crop.extent[down]
        pixel = max(width, height) / _LONG_SIDE
        size = (max(1, round(width / pixel)), max(1, round(height / pixel)), 1)
        deep = crop.axes[:, normal]
        middle = crop.centre + deep * (deep @ (through - crop.centre))
        origin = middle - pixel * ((size[0] - 1) / 2 * right + (size[1] - 1) / 2 * below)
        axes = np.stack([right, below, np.cross(right, below)], axis=1)
        yield _Cut(
            _placed(name, normal, crop, through), sides, Grid.of(size, (pixel,) * 3, origin.tolist(), axes), normal
        )


def _placed(name: str, normal: int, crop: Grid, through: Matrix) -> str:
    """Say how far a plane lies from the middle of the crop, which is the gland's."""
    along = float(crop.axes[:, normal] @ (through - crop.centre)) * float(np.sign(crop.axes[normal, normal]))
    way = _WAYS[normal][int(along > 0)]
    return f"{name}, {abs(along):.0f} mm {way} the gland's middle" if abs(along) >= 0.5 else name


def _telling(found: Explanation) -> Matrix:
    """Return the point (mm) where the axial, coronal and sagittal plane meet that show much of maps and gland.

    The strongest planes alone often lie at the crop's border, far from anything a reader knows.
    """
    both = found.fixed.data + found.moving.data
    if not bool(both.any()):
        return found.crop.centre
    lines = [
        [part.sum(dim=[a for a in range(3) if a != axis]) for part in (both, found.gland.data)] for axis in range(3)
    ]
    return found.crop.to_world([int((share * organ).argmax()) for share, organ in reversed(lines)])


def _over(image: NDArray, share: NDArray | None = None) -> Picture:
    """Colour ``(H, W)`` grey from 0 to 1 by a map from 0 to 1: the stronger, the less of the image shines through."""
    background = np.repeat(grey(image)[..., None], 3, axis=2)
    if share is None:
        return background
    colour = coloured(0.25 + 0.75 * share, HEAT)  # the table begins in black, which would hide the image
    weight = _OPAQUE * np.sqrt(np.clip(share, 0, 1))[..., None]
    return np.asarray(np.rint((1 - weight) * background + weight * colour), dtype=np.uint8)


def _marked(picture: Picture, where: NDArray, colour: str = _GLAND) -> Picture:
    picture[where] = rgb(colour)
    return picture


def _outline(cut: _Cut, inputs: Inputs) -> NDArray:
    assert inputs.fixed_gland is not None
    gland = inputs.fixed_gland
    inside = torch.as_tensor(cut.of(gland.with_data((gland.data > 0).float(), "float32")) > 0.5).float()
    # Inside, with a neighbour outside.
    grown = F.max_pool2d(1 - inside[None, None], 3, stride=1, padding=1)[0, 0]
    return np.asarray(((grown > 0) & (inside > 0)).numpy())


def _cross(cut: _Cut, point: Matrix) -> NDArray:
    """Return the pixels of a cross with an open middle, so that it does not hide what it marks."""
    column, row, _ = cut.grid.to_index(point)
    rows, columns = np.mgrid[: cut.grid.size[1], : cut.grid.size[0]]
    down, right = np.abs(rows - row), np.abs(columns - column)
    return np.asarray(((down <= 0.8) & (right > 4) & (right < 15)) | ((right <= 0.8) & (down > 4) & (down < 15)))


def _plane(cut: _Cut, views: Sequence[View]) -> PlaneViews:
    percent = 100 * _BAR_MM / (cut.grid.extent[0])
    return PlaneViews(cut.name, cut.sides, tuple(views), _BAR_MM, round(percent, 3))


def _view(title: str, picture: Picture, caption: str) -> View:
    return View(title, data_uri(picture), caption)
