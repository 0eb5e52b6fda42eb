"""The pictures of a report: planes through the images, and what is drawn of each.

Planes are shown as radiologists expect: the patient's right on the left of axial and coronal pictures, anterior to the
left of sagittal ones, anterior or superior up, with the true ratio of height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.png import DIVERGING, HEAT, Picture, coloured, data_uri, grey, rgb

FOLDING = "#ffd500"
_LINE = "#4fe0c4"
_LONG_SIDE = 340  # pixels
_NAMES = {2: ("Axial", "RLAP"), 1: ("Coronal", "RLSI"), 0: ("Sagittal", "APSI")}
_BARS = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class View:
    """One picture: what it is called, its data URI and what it tells."""

    title: str
    uri: str
    caption: str


@dataclass(frozen=True)
class PlaneViews:
    """The pictures of one plane.

    Attributes:
        name: of the plane.
        sides: letters at the left, right, upper and lower edge; empty where the plane has none.
        views: the pictures, all of the same size.
        bar_mm: length of the scale bar.
        bar_percent: the same in percent of a picture's width.
    """

    name: str
    sides: str
    views: tuple[View, ...]
    bar_mm: int
    bar_percent: float


@dataclass(frozen=True)
class _Plane:
    """A cut through a volume, along canonical axes ``across`` (to the right) and ``down`` or up."""

    grid: Grid
    turn: Reorientation
    normal: int | None
    index: int
    across: int
    down: int

    @property
    def flipped(self) -> bool:
        """Whether rows run from superior to inferior, against the axis."""
        return self.down == 2

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width in mm."""
        edges = self.turn.grid(self.grid).extent
        return edges[self.down], edges[self.across]

    @property
    def pitch(self) -> float:
        """Size of a pixel (mm)."""
        return max(self.extent) / _LONG_SIDE

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = (max(1, round(edge / self.pitch)) for edge in self.extent)
        return height, width

    def cut(self, data: Tensor) -> Tensor:
        """Return this plane of ``(..., *shape)`` as rows and columns of voxels, float32."""
        if self.normal is not None:
            # Only the plane is turned, not the whole volume.
            old = self.turn.order[self.normal]
            place = self.grid.size[old] - 1 - self.index if self.turn.flipped[self.normal] else self.index
            data = data.narrow(data.ndim - 1 - old, place, 1)
        turned = self.turn.data(data)
        if self.normal is not None:
            turned = turned.squeeze(turned.ndim - 1 - self.normal)
        return (turned.flip(-2) if self.flipped else turned).float()

    def pixels(self, voxels: Tensor, mode: str = "bilinear") -> Tensor:
        """Interpolate rows and columns of voxels ``(H, W)`` to pixels."""
        smooth = {"align_corners": False} if mode == "bilinear" else {}
        return F.interpolate(voxels[None, None], size=self.size, mode=mode, **smooth)[0, 0]


def draw(
    fixed: Image, before: Image, warped: Image, determinant: Image, field: DisplacementField
) -> Iterator[PlaneViews]:
    """Yield the pictures of each plane through the middle of what the fixed image shows.

    Args:
        fixed: the fixed image.
        before: the moving image as it came, on the fixed grid.
        warped: the result, on the fixed grid.
        determinant: Jacobian determinant, on the fixed grid.
        field: the displacement, on the fixed grid.
    """
    windows = _window(fixed.data), _window(before.data)
    for plane in _planes(fixed, windows[0]):
        there = _share(plane, fixed, windows[0])
        start, end = (_share(plane, image, windows[1]) for image in (before, warped))
        views = (
            _view("Fixed", grey(there), "the image that stays"),
            _view("Moving, before", grey(start), "as it came"),
            _view("Warped", grey(end), "the moving image after registration"),
            _view("Checkerboard", grey(_checkerboard(there, end)), "fixed and warped in turn: edges should run on"),
            _view("Difference, before", coloured(np.abs(there - start), HEAT), "bright: intensities differ"),
            _view("Difference, after", coloured(np.abs(there - end), HEAT), "the same scale as before"),
            _view("Deformed grid", _grid_lines(plane, there, field), _grid_caption(plane)),
            _view("Jacobian", _jacobian(plane, determinant.data), "blue: shrinks, red: grows, yellow: folds"),
        )
        name, sides = _NAMES[plane.normal] if plane.normal is not None else ("Image", "")
        bar = _bar(plane)
        yield PlaneViews(name, sides, views, bar, round(100 * bar / plane.extent[1], 3))


def _planes(fixed: Image, window: tuple[float, float]) -> list[_Plane]:
    turn = Reorientation.to_canonical(fixed.grid)
    if fixed.dim == 2:
        return [_Plane(fixed.grid, turn, None, 0, 0, 1)]
    canonical = turn.grid(fixed.grid)
    centre = np.rint(canonical.to_index(_foreground_centre(fixed, window)))
    index = np.clip(centre, 0, np.asarray(canonical.size) - 1).astype(int)
    return [
        _Plane(fixed.grid, turn, normal, int(index[normal]), across, down)
        for normal, across, down in ((2, 0, 1), (1, 0, 2), (0, 1, 2))
    ]


def _foreground_centre(image: Image, window: tuple[float, float]) -> NDArray[np.float64]:
    """Return the mean position (mm) of the brighter voxels, judged on some of them."""
    step = max(1, max(image.grid.size) // 48)
    some = image.data[(slice(None, None, step),) * image.dim]
    bright = torch.nonzero(some > window[0] + 0.15 * (window[1] - window[0])).double()
    if len(bright) == 0:
        return image.grid.centre
    return image.grid.to_world(bright.mean(dim=0).flip(0).numpy() * step)


def _window(data: Tensor) -> tuple[float, float]:
    """Return the intensities to show as black and white: nearly the whole range, without outliers."""
    flat = data.reshape(-1)
    some = flat[:: max(1, len(flat) // 100_000)].float()
    low, high = torch.quantile(some, torch.tensor([0.005, 0.995])).tolist()
    if high <= low:
        low, high = float(flat.min()), float(flat.max())
    return low, high if high > low else low + 1.0


def _share(plane: _Plane, image: Image, window: tuple[float, float]) -> NDArray:
    low, high = window
    return np.asarray(plane.pixels(plane.cut(image.data).sub(low).div(high - low).clamp(0, 1)).numpy())


def _checkerboard(there: NDArray, end: NDArray) -> NDArray:
    side = max(there.shape) / 8
    rows, columns = (np.arange(n) // side for n in there.shape)
    return np.where((rows[:, None] + columns[None]) % 2 == 0, there, end)


def _step(plane: _Plane) -> int:
    """Return the distance of grid lines (mm), a round number with about twenty lines."""
    return min(_BARS, key=lambda step: abs(np.log(max(plane.extent) / step / 20)))


def _bar(plane: _Plane) -> int:
    return max((bar for bar in _BARS if bar <= plane.extent[1] / 3), default=1)


def _grid_caption(plane: _Plane) -> str:
    return f"lines every {_step(plane)} mm of the moving image, as they lie in the fixed one"


def _grid_lines(plane: _Plane, there: NDArray, field: DisplacementField) -> Picture:
    """Draw where straight lines of the moving image end up: the level sets of x + u(x)."""
    axes = torch.as_tensor(plane.turn.grid(plane.grid).axes).float()
    voxels = plane.cut(field.data)
    ink = torch.zeros(plane.size)
    for axis, dim in ((plane.down, 0), (plane.across, 1)):
        along = plane.pixels(torch.tensordot(axes[:, axis], voxels, dims=1))
        n = plane.size[dim]
        base = (torch.arange(n) + 0.5 - n / 2) * plane.pitch
        if dim == 0 and plane.flipped:
            base = base.flip(0)
        place = (base.reshape(-1, 1) if dim == 0 else base.reshape(1, -1)) + along
        # The distance to the nearest line, in pixels, gives lines of even width and smooth edges at any stretch.
        steepness = torch.hypot(*torch.gradient(place)).clamp_min(1e-6)
        distance = (place / _step(plane) - (place / _step(plane)).round()).abs() * _step(plane) / steepness
        ink = torch.maximum(ink, (1.15 - distance).clamp(0, 1))
    share = ink.numpy()[..., None] * 0.9
    mixed = (1 - share) * 0.7 * grey(there)[..., None] + share * np.array(rgb(_LINE))
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _jacobian(plane: _Plane, determinant: Tensor) -> Picture:
    """Colour the determinant on a logarithmic scale from 1/2 to 2; folding is marked on top."""
    voxels = plane.cut(determinant)
    level = plane.pixels(voxels.clamp_min(1e-6).log2().clamp(-1, 1))
    picture = coloured((level.numpy() + 1) / 2, DIVERGING)
    picture[plane.pixels((voxels <= 0).float(), "nearest").numpy() > 0] = rgb(FOLDING)
    return picture


def _view(title: str, picture: Picture, caption: str) -> View:
    return View(title, data_uri(picture), caption)
