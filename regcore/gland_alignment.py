"""Rigid alignment of an organ outlined in both images, from the outlines alone: no network, no intensities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from regcore.gland_fit import GlandFit, State
from regcore.gland_surface import GlandSurface
from regcore.image import Image
from regcore.ops.rotation_vector import rotation_of, vector_of
from regcore.procrustes import nearest_rotation
from regcore.progress import CancelCheck, Cancelled, Progress
from regcore.transform import AffineTransform, RigidTransform

_STAGE = "glands"
_TILT_SD = 2.0  # standard deviations of the prior by which the starts are turned
_FIRST_STEPS = 5  # from each start: enough to reach the valley it lies above
_FAR_APART_MM = 4.0
_UNUSUAL_SD = 3.0


class GlandAlignment(NamedTuple):
    """Where the outlines agree best, and how well.

    Attributes:
        transform: fixed to moving points; its centre is the fixed organ's.
        surface_distance_mm: mean distance between the two surfaces afterwards, over both directions.
        rotation_deg: size of the rotation, about whichever axis.
        error_mm: root mean square error to expect of a point on the surface, if outlines are as accurate as assumed;
            the rotation is the larger part of it, as round organs fit at many.
        warnings: sentences a user should read.
    """

    transform: RigidTransform
    surface_distance_mm: float
    rotation_deg: float
    error_mm: float
    warnings: tuple[str, ...]


def align_glands(
    fixed_gland: Image,
    moving_gland: Image,
    *,
    fixed_landmarks: ArrayLike | None = None,
    moving_landmarks: ArrayLike | None = None,
    start: AffineTransform | None = None,
    rotation_sd_deg: float = 8.0,
    progress: Progress | None = None,
    cancelled: CancelCheck | None = None,
) -> GlandAlignment:
    """Return the most probable rigid transform between two masks of one organ; see `regcore.gland_fit` for the model.

    Masks leave the rotation of a round organ open, so rotations are held small: about the axes of the world, from
    which a patient's two images seldom differ much. Where a mask touches the border of its image the organ counts as
    cut off: that face is no surface, what the other image shows beyond it is left out, and a warning says so.

    Args:
        fixed_gland: above 0 inside the organ; any grid, 3D.
        moving_gland: likewise, on a grid of its own.
        fixed_landmarks: points ``(n, 3)`` seen in both images (mm, LPS), of any number.
        moving_landmarks: the same points in the moving image, in the same order.
        start: one more place to begin from. The result is that of the best start, and so seldom depends on it.
        rotation_sd_deg: standard deviation of the rotation about each axis.
        progress: told how far it is.
        cancelled: asked before each start.

    Raises:
        ValueError: a mask that is empty, not finite, not a volume, too thin or without a border, landmarks that do not
            pair up, a start that is not 3D, or a deviation that is not positive.
        Cancelled: ``cancelled`` returned true.
    """
    if not (np.isfinite(rotation_sd_deg) and rotation_sd_deg > 0):
        raise ValueError(f"rotation_sd_deg: expected a positive number of degrees, got {rotation_sd_deg}")
    landmarks = _landmarks(fixed_landmarks, moving_landmarks)
    fixed = GlandSurface.of(fixed_gland, "fixed_gland")
    moving = GlandSurface.of(moving_gland, "moving_gland")
    fit = GlandFit(fixed, moving, *landmarks, float(np.deg2rad(rotation_sd_deg)))
    best = _best(fit, _starts(fit, start), progress, cancelled)
    rotation_deg = float(np.rad2deg(best.numbers[3:].norm()))
    return GlandAlignment(
        RigidTransform(rotation_of(best.numbers[3:]).numpy(), best.numbers[:3].numpy(), fixed.centre),
        best.distance_mm,
        rotation_deg,
        fit.error_mm(best),
        tuple(_warnings(fit, best, rotation_deg / rotation_sd_deg)),
    )


def _landmarks(fixed: ArrayLike | None, moving: ArrayLike | None) -> tuple[Tensor, Tensor]:
    points = []
    for name, given in (("fixed_landmarks", fixed), ("moving_landmarks", moving)):
        values = np.zeros((0, 3)) if given is None else np.asarray(given, dtype=np.float64)
        values = values.reshape(0, 3) if values.size == 0 else values
        if values.ndim != 2 or values.shape[1] != 3:
            raise ValueError(f"{name}: expected points (n, 3) in mm, got an array of shape {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: expected finite coordinates, found NaN or infinity; place the points again")
        points.append(torch.as_tensor(values))
    if len(points[0]) != len(points[1]):
        counts = f"{len(points[0])} fixed and {len(points[1])} moving"
        raise ValueError(f"landmarks: expected as many fixed as moving points, got {counts}; pair them up")
    return points[0], points[1]


def _starts(fit: GlandFit, start: AffineTransform | None) -> list[Tensor]:
    """Return the centres laid on one another, as they are and tilted either way about each axis, and what is given."""
    shift = torch.as_tensor(fit.moving.centre - fit.fixed.centre)
    tilts = _TILT_SD * fit.rotation_sd * torch.eye(3, dtype=torch.float64)
    starts = [torch.cat([shift, vector]) for vector in (torch.zeros_like(shift), *tilts, *-tilts)]
    if start is not None:
        if start.dim != 3:
            raise ValueError(f"start: expected a 3D transform, got a {start.dim}D one")
        vector = vector_of(torch.as_tensor(nearest_rotation(start.matrix)))
        starts.append(torch.cat([torch.as_tensor(start(fit.fixed.centre) - fit.fixed.centre), vector]))
    return starts


def _best(fit: GlandFit, starts: list[Tensor], progress: Progress | None, cancelled: CancelCheck | None) -> State:
    """Go a few steps down from every start, then on from the lowest place."""
    found: list[State] = []
    for number, numbers in enumerate(starts):
        if cancelled is not None and cancelled():
            raise Cancelled
        found.append(fit.minimise(numbers, _FIRST_STEPS))
        if progress is not None:
            progress((number + 1) / (len(starts) + 1), _STAGE, f"outlines {found[-1].distance_mm:.1f} mm apart")
    best = fit.minimise(min(found, key=lambda state: state.cost).numbers)
    if progress is not None:
        progress(1.0, _STAGE, f"outlines {best.distance_mm:.1f} mm apart")
    return best


def _warnings(fit: GlandFit, state: State, deviations: float) -> list[str]:
    found = []
    for name, gland in (("fixed", fit.fixed), ("moving", fit.moving)):
        if gland.is_cut:
            found.append(f"The {name} gland touches the border of its image: it counts as cut off there.")
    if state.distance_mm > _FAR_APART_MM:
        found.append(
            f"The outlines lie {state.distance_mm:.1f} mm apart after alignment: check that both show the same organ."
        )
    if deviations > _UNUSUAL_SD:
        found.append("The alignment needs an unusual rotation: check the orientation of both images.")
    return found
