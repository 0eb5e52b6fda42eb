"""The initial transform: centres, moments, or a rigid or affine one found by mutual information.

Everything is worked out in the fixed volume's own frame (its axes, its centre at 0), so tilting the head or moving the
origin of the world changes nothing but the numbers written down at the end.

Reference: Mattes et al., "PET-CT image registration in the chest using free-form deformations", IEEE TMI 22, 2003.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.progress import CancelCheck, Cancelled
from regcore.transform import AffineTransform, RigidTransform, Transform

InitialKind = Literal["none", "centre", "moments", "rigid", "affine"]

_BINS = 32
_COARSE_VOXELS, _FINE_VOXELS = 40_000, 200_000
_START_ANGLES = (30.0, 60.0)  # degrees either way about each axis
_STARTS_REFINED = 3


def initial_transform(
    fixed: Image,
    moving: Image,
    kind: InitialKind,
    *,
    start: Transform | None = None,
    fixed_mask: Image | None = None,
    moving_mask: Image | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: CancelCheck | None = None,
) -> Transform:
    """Bring ``moving`` roughly onto ``fixed``.

    Args:
        fixed: any orientation; works best in canonical order (`regcore.image.Reorientation`).
        moving: the same dimension.
        kind: ``none`` keeps ``start``; ``centre`` centres of the volumes; ``moments`` centres of mass; ``rigid`` and
            ``affine`` Mattes mutual information, coarse to fine, from ``start`` or several shifted and rotated starts.
        start: what is known already, fixed to moving; the identity when absent.
        fixed_mask: on the fixed grid, above 0 where the image counts.
        moving_mask: on the moving grid, likewise.
        progress: called with the fraction done and a message.
        cancelled: asked at every iteration.

    Returns:
        The transform from fixed to moving points (mm).

    Raises:
        ValueError: the images share no content to compare, or ``rigid`` or ``affine`` is to go on from a transform
            that is not linear.
        Cancelled: ``cancelled`` returned true.
    """
    if kind == "none":
        return start or AffineTransform.identity(fixed.dim)
    if kind in ("rigid", "affine") and start is not None and not isinstance(start, AffineTransform):
        raise ValueError(f"init: {kind} can only go on from a linear transform, not from {type(start).__name__}")
    frame = _local_frame(fixed.grid)
    if kind == "centre":
        local: AffineTransform = _shift(frame.map_point(moving.grid.centre))
    elif kind == "moments":
        local = _moments(frame.image(fixed), frame.image(moving))
    else:
        images = (frame.image(fixed), frame.image(moving))
        masks = tuple(frame.image(mask) if mask is not None else None for mask in (fixed_mask, moving_mask))
        begin = frame.to_local(start) if isinstance(start, AffineTransform) else None
        local = _Search(images, masks, progress, cancelled).run(kind, begin)
    return frame.to_world(local)


def landmark_transform(
    fixed_points: ArrayLike, moving_points: ArrayLike, kind: Literal["rigid", "affine"] = "rigid"
) -> AffineTransform:
    """Return the least-squares rigid or affine transform that takes fixed landmarks to moving ones.

    Args:
        fixed_points: ``(P, D)`` mm.
        moving_points: ``(P, D)`` mm, in the same order.
        kind: what the transform may do.

    Raises:
        ValueError: counts differ, or the points are too few or lie on a line (rigid) or plane (affine).

    Reference:
        Umeyama, "Least-squares estimation of transformation parameters between two point patterns", TPAMI 1991.
    """
    x, y = np.asarray(fixed_points, dtype=np.float64), np.asarray(moving_points, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(f"landmarks: expected as many fixed as moving points, got {len(x)} and {len(y)}")
    dim = x.shape[1]
    centre = x.mean(axis=0)
    a, b = x - centre, y - y.mean(axis=0)
    needed = dim if kind == "affine" else dim - 1
    if np.linalg.matrix_rank(a, tol=1e-6 * max(1.0, float(np.abs(a).max()))) < needed:
        raise ValueError(f"landmarks: {len(x)} points that span {dim}D are too few for a {kind} transform; add more")
    shift = y.mean(axis=0) - centre
    if kind == "affine":
        return AffineTransform.of(np.linalg.lstsq(a, b, rcond=None)[0].T, shift, centre)
    return RigidTransform(_nearest_rotation(b.T @ a), shift, centre)


@dataclass(frozen=True)
class _Frame:
    """World to the fixed volume's own frame: ``rotation (x - origin)``."""

    rotation: Matrix
    origin: Matrix

    def map_point(self, point: Matrix) -> Matrix:
        return np.asarray(self.rotation @ (point - self.origin), dtype=np.float64)

    def image(self, image: Image) -> Image:
        grid = image.grid
        origin = self.map_point(np.asarray(grid.origin))
        return Image(image.data, Grid.of(grid.size, grid.spacing, origin.tolist(), self.rotation @ grid.axes))

    @property
    def _there(self) -> AffineTransform:
        return AffineTransform.of(self.rotation, -self.origin, self.origin)

    def to_local(self, world: AffineTransform) -> AffineTransform:
        full = self._there.homogeneous @ world.homogeneous @ self._there.inverse().homogeneous
        return AffineTransform.from_homogeneous(full)

    def to_world(self, local: AffineTransform) -> AffineTransform:
        full = self._there.inverse().homogeneous @ local.homogeneous @ self._there.homogeneous
        world = AffineTransform.from_homogeneous(full, self.origin)
        if isinstance(local, RigidTransform):
            return RigidTransform(world.matrix, world.translation, world.centre)
        return world


def _local_frame(grid: Grid) -> _Frame:
    return _Frame(grid.axes.T.copy(), grid.centre)


def _shift(translation: Matrix) -> RigidTransform:
    return RigidTransform(np.eye(len(translation)), translation, np.zeros(len(translation)))


def _moments(fixed: Image, moving: Image) -> RigidTransform:
    centres = [_centre_of_mass(image) for image in (fixed, moving)]
    return RigidTransform(np.eye(fixed.dim), centres[1] - centres[0], centres[0])


def _centre_of_mass(image: Image) -> Matrix:
    weight = image.data.double() - float(image.data.min())
    index = []
    for axis in reversed(range(image.dim)):
        line = weight.sum(dim=[a for a in range(image.dim) if a != axis])
        index.append(float((line * torch.arange(len(line))).sum() / line.sum()))
    return image.grid.to_world(index)


def _shrunk(image: Image, voxels: int, nearest: bool = False) -> Image:
    """Average blocks so that about ``voxels`` remain, finest axes first; masks keep any voxel that touches."""
    factors = [1] * image.dim
    while np.prod([n / f for n, f in zip(image.grid.size, factors, strict=True)]) > 1.5 * voxels:
        steps = [s * f for s, f in zip(image.grid.spacing, factors, strict=True)]
        room = [a for a in range(image.dim) if image.grid.size[a] / factors[a] >= 16]
        if not room:
            break
        factors[min(room, key=lambda a: steps[a])] += 1
    data = image.data.float()[None, None]
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[image.dim] if nearest else {2: F.avg_pool2d, 3: F.avg_pool3d}[image.dim]
    kept = pool(data, factors[::-1])[0, 0]
    start = image.grid.to_world([(f - 1) / 2 for f in factors])
    spacing = [s * f for s, f in zip(image.grid.spacing, factors, strict=True)]
    return Image(kept, Grid.of(kept.shape[::-1], spacing, start.tolist(), image.grid.axes))


def _itk(image: Image, pixel: int = sitk.sitkFloat32) -> sitk.Image:
    target = sitk.Cast(sitk.GetImageFromArray(image.data.numpy()), pixel)
    target.SetSpacing(image.grid.spacing)
    target.SetOrigin(image.grid.origin)
    target.SetDirection(image.grid.direction)
    return target


class _Search:
    """Mutual information from several starts, rigid then affine, coarse then fine, in the fixed volume's frame."""

    def __init__(
        self,
        images: tuple[Image, Image],
        masks: tuple[Image | None, ...],
        progress: Callable[[float, str], None] | None,
        cancelled: CancelCheck | None,
    ) -> None:
        self.images, self.masks = images, masks
        self.progress, self.cancelled = progress, cancelled
        self.dim = images[0].dim

    def run(self, kind: Literal["rigid", "affine"], start: AffineTransform | None) -> AffineTransform:
        levels = [self._level(_COARSE_VOXELS), self._level(_FINE_VOXELS)]
        best = self._best_start(levels[0]) if start is None else start
        plan: list[tuple[int, str, int]] = [(0, "rigid", 60), (1, "rigid", 40)]
        if kind == "affine" and start is not None:
            plan = [(0, "affine", 100), (1, "affine", 100)]
        elif kind == "affine":
            plan = [(0, "rigid", 60), (0, "affine", 100), (1, "affine", 100)]
        for number, (level, step, iterations) in enumerate(plan):
            self._report((1 + number) / (1 + len(plan)), f"{step}, step {number + 1} of {len(plan)}")
            best = self._optimise(levels[level], best, step, iterations)[1]
        return best

    def _level(self, voxels: int) -> tuple[sitk.Image, sitk.Image, sitk.Image | None, sitk.Image | None]:
        fixed, moving = (_itk(_shrunk(image, voxels)) for image in self.images)
        masks = [_itk(_shrunk(m, voxels, True), sitk.sitkUInt8) if m is not None else None for m in self.masks]
        return fixed, moving, masks[0], masks[1]

    def _best_start(self, level: tuple[sitk.Image, ...]) -> AffineTransform:
        """Rank shifted and rotated starts by their metric, improve the best few a little, keep the best."""
        self._report(0.0, "looking for a start")
        fixed, moving = self.images
        shifts = [np.zeros(self.dim), moving.grid.centre, _moments(fixed, moving).translation]
        turns: list[tuple[float, ...]] = [(0.0,) * (1 if self.dim == 2 else 3)]
        for axis, angle, sign in itertools.product(range(len(turns[0])), _START_ANGLES, (1.0, -1.0)):
            turns.append(tuple(sign * angle if a == axis else 0.0 for a in range(len(turns[0]))))
        centre = _centre_of_mass(fixed)
        ranked: list[tuple[float, int, RigidTransform]] = []
        for shift, turn in itertools.product(shifts, turns):
            start = RigidTransform.from_euler(turn, shift, centre)
            value = self._value(level, start)
            if value is not None:
                ranked.append((value, len(ranked), start))
        if not ranked:
            raise ValueError("moving: the volumes do not overlap from any start; check them, or pass landmarks")
        ranked.sort(key=lambda entry: entry[:2])
        tried = [self._optimise(level, start, "rigid", 25) for _, _, start in ranked[:_STARTS_REFINED]]
        return min(tried, key=lambda entry: entry[0])[1]

    def _value(self, level: tuple[sitk.Image, ...], start: AffineTransform) -> float | None:
        self._check()
        method = self._method(level, sitk.ImageRegistrationMethod())
        method.SetInitialTransform(_itk_linear(start, "rigid"))
        try:
            return float(method.MetricEvaluate(level[0], level[1]))
        except RuntimeError:  # ITK's word for too few samples inside
            return None

    def _method(
        self, level: tuple[sitk.Image, ...], method: sitk.ImageRegistrationMethod
    ) -> sitk.ImageRegistrationMethod:
        # One thread: with more, ITK adds up in whatever order they finish, and results differ in the last digits.
        method.SetNumberOfWorkUnits(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetInterpolator(sitk.sitkLinear)
        if level[2] is not None:
            method.SetMetricFixedMask(level[2])
        if level[3] is not None:
            method.SetMetricMovingMask(level[3])
        return method

    def _optimise(
        self, level: tuple[sitk.Image, ...], start: AffineTransform, kind: str, iterations: int
    ) -> tuple[float, AffineTransform]:
        method = self._method(level, sitk.ImageRegistrationMethod())
        transform = _itk_linear(start, kind)
        method.SetInitialTransform(transform, inPlace=True)
        # The first step moves points by one voxel; ITK finds which step of the parameters does that.
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0,
            minStep=1e-3,
            numberOfIterations=iterations,
            relaxationFactor=0.6,
            estimateLearningRate=method.Once,
            gradientMagnitudeTolerance=1e-10,
            maximumStepSizeInPhysicalUnits=max(level[0].GetSpacing()),
        )
        method.SetOptimizerScalesFromPhysicalShift()
        stopped = False

        def look() -> None:
            nonlocal stopped
            if self.cancelled is not None and self.cancelled():
                stopped = True
                method.StopRegistration()

        method.AddCommand(sitk.sitkIterationEvent, look)
        try:
            method.Execute(level[0], level[1])
        except RuntimeError as error:
            raise ValueError(
                "moving: the alignment lost the overlap of the volumes; try another --init, or masks"
            ) from error
        if stopped:
            raise Cancelled
        return float(method.GetMetricValue()), _from_itk_linear(transform)

    def _check(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled

    def _report(self, fraction: float, message: str) -> None:
        self._check()
        if self.progress is not None:
            self.progress(fraction, message)


def _itk_linear(start: AffineTransform, kind: str) -> sitk.Transform:
    dim = start.dim
    rigid = sitk.Euler2DTransform() if dim == 2 else sitk.Euler3DTransform()
    target = rigid if kind == "rigid" else sitk.AffineTransform(dim)
    target.SetCenter(start.centre.tolist())
    target.SetMatrix((_nearest_rotation(start.matrix) if kind == "rigid" else start.matrix).ravel().tolist())
    target.SetTranslation(start.translation.tolist())
    return target


def _nearest_rotation(matrix: Matrix) -> Matrix:
    """Return the rotation closest to ``matrix``, which may be one already (to the precision of its file)."""
    u, _, vt = np.linalg.svd(matrix)
    sign = np.ones(len(matrix))
    sign[-1] = np.sign(np.linalg.det(u @ vt))
    return np.asarray((u * sign) @ vt, dtype=np.float64)


def _from_itk_linear(source: sitk.Transform) -> AffineTransform:
    dim = source.GetDimension()
    matrix = np.asarray(source.GetMatrix()).reshape(dim, dim)
    kind = AffineTransform if isinstance(source, sitk.AffineTransform) else RigidTransform
    return kind(matrix, np.asarray(source.GetTranslation()), np.asarray(source.GetCenter()))
