"""The initial transform: centres, moments, or a rigid or affine one found by mutual information.

Everything is worked out between the volumes' own frames (their axes, their centres at 0), so a tilted head or another
origin of the world changes nothing but the numbers written down at the end.

Reference: Mattes et al., "PET-CT image registration in the chest using free-form deformations", IEEE TMI 22, 2003.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import SimpleITK as sitk

from regcore.frames import Frame, centre_of_mass, to_frames, to_world
from regcore.grid import Matrix
from regcore.image import Image
from regcore.procrustes import nearest_rotation
from regcore.progress import CancelCheck, Cancelled
from regcore.sparse import probes, shrunk
from regcore.transform import AffineTransform, RigidTransform, Transform

InitialKind = Literal["none", "centre", "moments", "rigid", "affine"]

_BINS = 32
_COARSE_VOXELS, _FINE_VOXELS = 40_000, 200_000
_START_ANGLES = (30.0, 60.0)  # degrees either way about each axis
_STARTS_REFINED = 3
_POLISH_LEVEL = {"rigid": 1, "affine": 0}
_POLISH_ITERATIONS = {"rigid": 100, "affine": 250}
_LEAST_OVERLAP = 0.5  # of what the start with most overlap has
_CLEARLY = 0.1  # share of the metric


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
    if kind == "centre":
        return _shift(moving.grid.centre - fixed.grid.centre, fixed.grid.centre)
    if kind == "moments":
        centre = centre_of_mass(fixed)
        return _shift(centre_of_mass(moving) - centre, centre)
    frames = (Frame.of(fixed.grid), Frame.of(moving.grid))
    masks = [None if m is None else f.image(m) for f, m in zip(frames, (fixed_mask, moving_mask), strict=True)]
    known = start if isinstance(start, AffineTransform) else _shift(np.zeros(fixed.dim), fixed.grid.centre)
    search = _Search((frames[0].image(fixed), frames[1].image(moving)), masks, progress, cancelled)
    return to_world(search.run(kind, to_frames(known, *frames), start is None), *frames)


def _shift(translation: Matrix, centre: Matrix) -> RigidTransform:
    return RigidTransform(np.eye(len(translation)), translation, centre)


def _itk(image: Image, pixel: int = sitk.sitkFloat32) -> sitk.Image:
    target = sitk.Cast(sitk.GetImageFromArray(image.data.numpy()), pixel)
    target.SetSpacing(image.grid.spacing)
    target.SetOrigin(image.grid.origin)
    target.SetDirection(image.grid.direction)
    return target


class _Search:
    """Mutual information from several starts, rigid then affine, coarse then fine, between the volumes' frames."""

    def __init__(
        self,
        images: tuple[Image, Image],
        masks: Sequence[Image | None],
        progress: Callable[[float, str], None] | None,
        cancelled: CancelCheck | None,
    ) -> None:
        self.images, self.masks = images, masks
        self.progress, self.cancelled = progress, cancelled
        self.dim = images[0].dim
        self._probes = probes(images[0].grid, masks[0])

    def run(self, kind: Literal["rigid", "affine"], start: AffineTransform, look_around: bool) -> AffineTransform:
        levels = [self._level(_COARSE_VOXELS), self._level(_FINE_VOXELS)]
        begin = self._best_start(levels[0], start) if look_around else start
        best = begin
        plan: list[tuple[int, str, int]] = [(0, "rigid", 60), (1, "rigid", 40)]
        if kind == "affine" and not look_around:
            plan = [(0, "affine", 100), (1, "affine", 100)]
        elif kind == "affine":
            plan = [(0, "rigid", 60), (0, "affine", 100), (1, "affine", 100)]
        for number, (level, step, iterations) in enumerate(plan):
            self._report((1 + number) / (1 + len(plan)), f"{step}, step {number + 1} of {len(plan)}")
            best = self._optimise(levels[level], best, step, iterations)[1]
        polished = self._polish(levels[_POLISH_LEVEL[kind]], best, kind)
        enough = _LEAST_OVERLAP * self._look(levels[1], begin)[1]
        return self._best(levels[1], [polished, best, begin], enough) or begin

    def _polish(self, level: tuple[sitk.Image, ...], start: AffineTransform, kind: str) -> AffineTransform:
        """Climb the last bit by values alone: ITK's gradient of this metric is biased where samples enter and leave.

        Reference: Nelder and Mead, "A simplex method for function minimization", Computer Journal 7, 1965.
        """
        method = self._method(level, sitk.ImageRegistrationMethod())
        transform = _itk_linear(start, kind)
        method.SetInitialTransform(transform, inPlace=True)
        method.SetOptimizerAsAmoeba(1.0, _POLISH_ITERATIONS[kind], 0.02, 1e-5)
        # One unit of each parameter should move the rim by about a millimetre.
        radius = float(np.linalg.norm(self.images[0].grid.extent) / 4)
        method.SetOptimizerScales([radius] * (transform.GetNumberOfParameters() - self.dim) + [1.0] * self.dim)
        return self._execute(method, level, transform)[1]

    def _level(self, voxels: int) -> tuple[sitk.Image, sitk.Image, sitk.Image | None, sitk.Image | None]:
        fixed, moving = (_itk(shrunk(image, voxels)) for image in self.images)
        masks = [_itk(shrunk(m, voxels, True), sitk.sitkUInt8) if m is not None else None for m in self.masks]
        return fixed, moving, masks[0], masks[1]

    def _best_start(self, level: tuple[sitk.Image, ...], as_they_lie: AffineTransform) -> AffineTransform:
        """Rank shifted and rotated starts by their metric, improve the best few a little, keep the best.

        Where the volumes lie in the world counts as one start among others, and must be clearly better than the best
        of those that only the volumes' own frames define: a header that is off does not change the result then.
        """
        self._report(0.0, "looking for a start")
        fixed, moving = self.images
        centre = centre_of_mass(fixed)
        shifts = [centre_of_mass(moving) - centre, np.zeros(self.dim)]
        axes = 1 if self.dim == 2 else 3
        turns = [(0.0,) * axes]
        for axis, angle, sign in itertools.product(range(axes), _START_ANGLES, (1.0, -1.0)):
            turns.append(tuple(sign * angle if a == axis else 0.0 for a in range(axes)))
        starts = [RigidTransform.from_euler(turn, shift, centre) for shift, turn in itertools.product(shifts, turns)]
        looks = [self._look(level, start) for start in (*starts, as_they_lie)]
        enough = _LEAST_OVERLAP * max(overlap for _, overlap in looks)
        if enough == 0:
            raise ValueError("moving: the volumes do not overlap from any start; check them, or pass landmarks")
        ranked = sorted((value, n) for n, (value, overlap) in enumerate(looks[:-1]) if overlap >= enough)
        first = [starts[n] for _, n in ranked[:_STARTS_REFINED]]
        own = self._best(level, [*first, *(self._optimise(level, start, "rigid", 25)[1] for start in first)], enough)
        if looks[-1][1] < enough:
            return own or as_they_lie
        lying = self._best(level, [as_they_lie, self._optimise(level, as_they_lie, "rigid", 25)[1]], enough)
        if own is None or lying is None:
            return own or lying or as_they_lie
        value = self._look(level, own)[0]
        return lying if self._look(level, lying)[0] < value - _CLEARLY * abs(value) else own

    def _best(
        self, level: tuple[sitk.Image, ...], transforms: Sequence[AffineTransform], enough: float
    ) -> AffineTransform | None:
        """Return the transform with the best metric among those that keep enough of the volumes together."""
        looks = [(*self._look(level, transform), transform) for transform in transforms]
        kept = [(value, transform) for value, overlap, transform in looks if overlap >= enough]
        return min(kept, key=lambda entry: entry[0])[1] if kept else None

    def _look(self, level: tuple[sitk.Image, ...], transform: AffineTransform) -> tuple[float, float]:
        """Return the metric and the share of the fixed volume that falls into the moving one, masks considered."""
        self._check()
        method = self._method(level, sitk.ImageRegistrationMethod())
        method.SetInitialTransform(_itk_linear(transform, "affine"))
        try:
            value = float(method.MetricEvaluate(level[0], level[1]))
        except RuntimeError:  # ITK's word for too few samples inside
            return float("inf"), 0.0
        return value, self._overlap(transform)

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
        return self._execute(method, level, transform)

    def _execute(
        self, method: sitk.ImageRegistrationMethod, level: tuple[sitk.Image, ...], transform: sitk.Transform
    ) -> tuple[float, AffineTransform]:
        """Run a prepared method, listening for a cancel; return the metric and the transform."""
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

    def _overlap(self, transform: AffineTransform) -> float:
        grid = self.images[1].grid
        index = np.rint(grid.to_index(transform(self._probes))).astype(int)
        there = index[((index >= 0) & (index < grid.size)).all(axis=1)]
        mask = self.masks[1]
        if mask is None:
            return len(there) / len(self._probes)
        return float((mask.data.numpy()[tuple(there.T[::-1])] > 0).sum()) / len(self._probes)

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
    target.SetMatrix((nearest_rotation(start.matrix) if kind == "rigid" else start.matrix).ravel().tolist())
    target.SetTranslation(start.translation.tolist())
    return target


def _from_itk_linear(source: sitk.Transform) -> AffineTransform:
    dim = source.GetDimension()
    matrix = np.asarray(source.GetMatrix()).reshape(dim, dim)
    kind = AffineTransform if isinstance(source, sitk.AffineTransform) else RigidTransform
    return kind(matrix, np.asarray(source.GetTranslation()), np.asarray(source.GetCenter()))
