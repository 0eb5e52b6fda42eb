"""Slices of hearts before and after registration, with the borders of the fixed labels, and how the area changes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from regcore.data.batch import PairBatch
from regcore.metrics.folding import forward_jacobian_determinant
from regcore.ops.sampling import warp

_TITLES = ("fixed", "moving", "demons", "U-Net", "ReSAAtt", "displacement", "area")
_WARPED = ("demons", "unet", "resaatt")
_INCHES, _TOP = 1.15, 0.22
_MOST = 1.0  # doubled or halved, as a power of two
_EVERY = 6  # pixels between arrows
_COLOURS = 128  # of the file, for a third of its size


def write_picture(path: Path, shown: Sequence[tuple[PairBatch, Mapping[str, Tensor]]]) -> None:
    """Write the picture as a PNG.

    Args:
        path: of the file.
        shown: pairs of one sample, each with the displacements ``(1, 2, H, W)`` by method.
    """
    size = _INCHES * len(_TITLES), _TOP + _INCHES * len(shown)
    figure = Figure(figsize=size, facecolor="white")
    room = {"left": 0.0, "right": 1.0, "top": 1 - _TOP / size[1], "bottom": 0.0, "wspace": 0.03, "hspace": 0.03}
    axes = figure.subplots(len(shown), len(_TITLES), squeeze=False, gridspec_kw=room)
    for one, title in zip(axes[0], _TITLES, strict=True):
        one.set_title(title, fontsize=8, pad=3)
    for row, (pair, fields) in zip(axes, shown, strict=True):
        warped = [warp(pair.moving, fields[name]) for name in _WARPED]
        assert pair.fixed_labels is not None
        for one, image in zip(row, (pair.fixed, pair.moving, *warped), strict=False):
            one.imshow(image[0, 0], cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
            _borders(one, pair.fixed_labels[0])
        _arrows(row[-2], pair.fixed[0, 0], fields["resaatt"])
        change = forward_jacobian_determinant(fields["resaatt"])[0].clamp(min=2**-_MOST).log2()
        row[-1].imshow(change, cmap="RdBu_r", vmin=-_MOST, vmax=_MOST)
    for one in axes.flat:
        one.set_axis_off()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(path, optimize=True)


def _borders(axes: Axes, labels: Tensor) -> None:
    for value in torch.unique(labels[labels > 0]).tolist():
        axes.contour((labels == value).numpy(), levels=[0.5], colors="#f7d13d", linewidths=0.5)


def _arrows(axes: Axes, fixed: Tensor, displacement: Tensor) -> None:
    axes.imshow(fixed, cmap="gray", vmin=0, vmax=2)
    rows, columns = (np.arange(_EVERY // 2, n, _EVERY) for n in fixed.shape)
    down, right = displacement[0][:, rows][:, :, columns].numpy()
    axes.quiver(columns, rows, right, down, angles="xy", scale_units="xy", scale=1, color="#fca636", width=0.008)
