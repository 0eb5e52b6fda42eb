"""What the scanner adds to the anatomy: uneven coils, noise, whole-number voxels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from regcore.data.phantoms.shapes import Points, Waves
from regcore.grid import Grid
from regcore.image import Image


def magnetic(value: NDArray, points: Points, rng: np.random.Generator, noise: float, bias: float) -> NDArray:
    """Return an MR image of ``value``: smooth coil bias, then Rician noise.

    Args:
        value: ``(*shape)``, about 0 to 1.
        points: ``(3, *shape)`` mm.
        rng: source of both.
        noise: standard deviation in each channel.
        bias: standard deviation of the logarithm of the bias.
    """
    return rician(value * coil(points, rng, bias), rng, noise)


def coil(points: Points, rng: np.random.Generator, bias: float) -> NDArray:
    """Return the smooth bias of a receive coil, ``(*shape)``, about 1.

    Args:
        points: ``(3, *shape)`` mm.
        rng: source of its waves.
        bias: standard deviation of its logarithm.
    """
    return np.asarray(np.exp(bias * Waves.random(rng, 4, 150.0, 300.0)(points.astype(np.float32))))


def rician(value: NDArray, rng: np.random.Generator, noise: float) -> NDArray:
    """Return the magnitude of ``value`` with normal noise of that standard deviation in both channels."""
    real, imaginary = (noise * rng.standard_normal(value.shape, dtype=np.float32) for _ in range(2))
    return np.asarray(np.hypot(value + real, imaginary))


def speckle(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> NDArray:
    """Return multiplicative speckle ``(*shape)``, mean 1: the magnitude of correlated complex noise.

    Args:
        rng: source of the noise.
        shape: of the image.
        strength: 0 (none) to 1 (fully developed).
    """
    real, imaginary = (_smoothed(_smoothed(rng.standard_normal(shape, dtype=np.float32))) for _ in range(2))
    magnitude = np.hypot(real, imaginary)
    return np.asarray(1 - strength + strength * magnitude / magnitude.mean())


def stored(value: NDArray, grid: Grid, scale: float, pixel_type: str) -> Image:
    """Return ``scale * value`` in whole numbers, as a file of ``pixel_type`` holds them."""
    limits = np.iinfo(pixel_type)
    whole = np.clip(np.rint(value * scale), limits.min, limits.max).astype(np.float32)
    return Image(torch.from_numpy(whole), grid, pixel_type)


def label_map(labels: NDArray[np.uint8], grid: Grid) -> Image:
    """Return a label map, int64 as `regcore.io.read_labels` gives it."""
    return Image(torch.from_numpy(labels.astype(np.int64)), grid, "uint8")


def _smoothed(values: NDArray) -> NDArray:
    for axis in range(values.ndim):
        along = np.moveaxis(values, axis, 0)
        along[1:-1] = 0.25 * along[:-2] + 0.5 * along[1:-1] + 0.25 * along[2:]
    return values
