"""A series in time: every frame registered to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from regcore.grid import Grid
from regcore.image import Image
from regcore.pipeline import Registration, register
from regcore.preprocess import Inputs
from regcore.progress import CancelCheck, Progress
from regcore.settings import Settings


def frames_of(series: Image) -> list[Image]:
    """Cut a 2D series stored as a volume, its third axis (k) being time, into 2D images.

    The images keep spacing, and origin and direction where the slices lie in the x-y plane; a 2D image cannot say
    more.

    Raises:
        ValueError: the image is not 3D.
    """
    if series.dim != 3:
        raise ValueError(f"series: expected a volume whose third axis is time, got {series.dim}D")
    axes = series.grid.axes[:2, :2]
    flat = np.allclose(axes @ axes.T, np.eye(2), atol=1e-4)
    grid = Grid.of(
        series.grid.size[:2],
        series.grid.spacing[:2],
        series.grid.origin[:2] if flat else None,
        axes if flat else None,
    )
    return [Image(frame.clone(), grid, series.pixel_type) for frame in series.data]


def check_reference(reference: int, frames: int) -> None:
    """Refuse a number that no frame has.

    Raises:
        ValueError: naming the numbers there are.
    """
    if not 0 <= reference < frames:
        raise ValueError(f"reference: expected a frame from 0 to {frames - 1}, got {reference}")


def register_series(
    frames: Sequence[Image],
    reference: int = 0,
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    cancelled: CancelCheck | None = None,
) -> list[Registration]:
    """Register every frame to the chosen one, which is the fixed image of all.

    Args:
        frames: images on one grid or near it: 2D, or 3D stacks (slice by slice where that suits, see `Settings`).
        reference: number of the chosen frame, from 0.
        settings: see `Settings`; left out of it, the initial transform is none: frames of one scan lie still.
        progress: told how far the whole series is.
        cancelled: asked now and then.

    Returns:
        One per frame, in their order; that of the chosen frame moves nothing.

    Raises:
        ValueError: no frames, no such frame, or what `register` refuses; the sentence says which frame.
    """
    check_reference(reference, len(frames))
    settings = settings or Settings()
    settings = replace(settings, init=settings.init or ("none",))
    still = replace(settings, init=("none",), model="none", stages=None, refine=0)
    results = []
    for number, frame in enumerate(frames):

        def share(fraction: float, stage: str, message: str, number: int = number) -> None:
            if progress is not None:
                progress((number + fraction) / len(frames), f"frame {number}: {stage}", message)

        try:
            result = register(
                Inputs(frames[reference], frame),
                still if number == reference else settings,
                progress=share,
                cancelled=cancelled,
            )
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from error
        results.append(result)
    return results
