"""Rows of digits as in the paper's figure: fixed, moving, and for each network the warped image over its grid."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from regcore.ops.sampling import sample, warp

_TITLES = {"unet": "U-Net", "paper": "AiR, paper's size", "large": "AiR, larger"}
_KINDS = {"random": "any two digits", "same": "the same digit"}
_COLOURS = 32
_LINES = 15  # of a grid, either way
_FINE = 55  # points along each of them
_INCHES = 0.78  # side of an image
_LEFT, _TOP = 1.15, 0.25  # room for words, inches

Shown = tuple[Tensor, Tensor, Mapping[str, Tensor]]


def write_picture(path: Path, shown: Mapping[str, Shown]) -> None:
    """Write the picture as a PNG.

    Args:
        path: of the file.
        shown: by kind of pair, fixed and moving images ``(N, 1, H, W)`` and displacements ``(N, 2, H, W)`` by method.
    """
    names = ["Fixed", "Moving", *(word for title in _TITLES.values() for word in (title, "its grid"))]
    columns = sum(len(fixed) for fixed, _, _ in shown.values())
    size = _LEFT + _INCHES * columns, _TOP + _INCHES * len(names)
    figure = Figure(figsize=size, facecolor="white")
    room = {"left": _LEFT / size[0], "right": 0.995, "top": 1 - _TOP / size[1], "bottom": 0.0}
    axes = figure.subplots(len(names), columns, squeeze=False, gridspec_kw=room | {"wspace": 0.06, "hspace": 0.06})
    for row, name in zip(axes, names, strict=True):
        row[0].text(-0.08, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    first = 0
    for kind, (fixed, moving, fields) in shown.items():
        axes[0, first].set_title(_KINDS[kind], fontsize=8, loc="left", pad=4)
        for number in range(len(fixed)):
            here = slice(number, number + 1)
            _column(axes[:, first + number], fixed[here], moving[here], {n: fields[n][here] for n in _TITLES})
        first += len(fixed)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    # A palette: a third of the bytes, and the eye does not see it.
    Image.open(drawn).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def grid_lines(displacement: Tensor) -> NDArray[np.float64]:
    """Return where evenly spaced lines of the fixed image lie in the moving one.

    Args:
        displacement: ``(1, 2, H, W)``, pixels.

    Returns:
        ``(lines, points, 2)``, row and column in pixels; first the lines along a row, then those along a column.
    """
    height, width = displacement.shape[2:]
    lines, points = torch.linspace(0, 1, _LINES), torch.linspace(0, 1, _FINE)
    rows = torch.stack(torch.meshgrid(lines * (height - 1), points * (width - 1), indexing="ij"))
    down = torch.stack(torch.meshgrid(points * (height - 1), lines * (width - 1), indexing="ij"))
    every = torch.cat([rows, down.mT], dim=1)[None]
    return (every + sample(displacement, every, padding="border"))[0].permute(1, 2, 0).double().numpy()


def _column(axes: NDArray[np.object_], fixed: Tensor, moving: Tensor, fields: Mapping[str, Tensor]) -> None:
    pictures: list[Tensor | None] = [fixed, moving]
    for field in fields.values():
        pictures += [warp(moving, field), None]
    grids = iter(fields.values())
    for place, picture in zip(axes, pictures, strict=True):
        if picture is None:
            _draw_grid(place, next(grids), moving)
        else:
            place.imshow(picture[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        place.set_xticks([])
        place.set_yticks([])
        for edge in place.spines.values():
            edge.set_visible(False)


def _draw_grid(place: Axes, displacement: Tensor, moving: Tensor) -> None:
    """Draw the lines over a pale picture of the moving image, which is what they fetch from."""
    place.imshow(1 - 0.35 * moving[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
    for line in grid_lines(displacement):
        place.plot(line[:, 1], line[:, 0], color="#2166ac", linewidth=0.5)
    place.set_xlim(-1.5, moving.shape[3] + 0.5)
    place.set_ylim(moving.shape[2] + 0.5, -1.5)
