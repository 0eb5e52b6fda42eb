"""One registration: arrays and settings in, `regcore.pipeline.register`, arrays and figures out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from regcore.checks import check_chain
from regcore.explanation import explain
from regcore.given import check_truth, gather, has_rigid, landmark_start
from regcore.grid import Grid
from regcore.image import Image
from regcore.inverse import Inverse
from regcore.landmarks import Landmarks
from regcore.models.attention_reg import AttentionReg
from regcore.motion import motion_of
from regcore.pipeline import Registration, register
from regcore.preprocess import Inputs
from regcore.progress import CancelCheck, Cancelled, Progress
from regcore.rigid import register_rigid
from regcore.rigid_step import linear_start
from regcore.settings import Settings
from regcore.summary import Truth, summarise
from regcore.transform import AffineTransform, Transform, slabs
from regcore.warp import resample
from regcore.watch import asking
from regcore.weights import forget_models, load_trained
from regcore.worker.choices import Choices
from regcore.worker.memory import free_memory
from regcore.worker.protocol import Register, Result
from regcore.worker.volumes import Results, read_image, read_labels, read_mask

# Where each part ends, of the whole.
_READ, _REGISTERED, _REPORTED = 0.04, 0.88, 0.96
_ON_CPU = "The GPU had too little memory: the registration was done on the CPU, which takes longer."
_NO_MAPS = "Attention maps are for rigid attention models with the gland in the fixed image: there are none."

_Points = Sequence[Sequence[float]] | None


def run(request: Register, progress: Progress, cancelled: CancelCheck) -> Result:
    """Do what a request asks.

    Args:
        request: as parsed.
        progress: told the fraction done, the stage and a message.
        cancelled: asked now and then.

    Raises:
        Refused: arrays or settings that are not what they must be.
        ValueError: what cannot be registered, in one sentence.
        regcore.checks.DeviceError: the device is not there.
        Cancelled: ``cancelled`` returned true.
        MemoryError: and other errors of the machine, as they come.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    way = _Way(progress, cancelled)
    task = _Task.of(request, lambda: way.report(0.0, "reading"))
    way.report(_READ, "registration")
    result, task = _registered(task, way)
    way.report(_REGISTERED, "report")
    with asking(cancelled):
        summary = summarise(result, task.inputs, task.settings, task.truth)
        maps, sentences = _attention(task, result) if request.outputs.attention else ({}, ())
        if request.outputs.motion:
            summary["motion"] = _motion(task, result)
    notes = [*task.notes, *result.warnings, *sentences]
    summary |= {"warnings": notes, "cpu_seconds": round(time.process_time() - cpu_began, 3)}
    files = Results(request.folder, lambda: way.report(_REPORTED, "writing"))
    return Result(
        id=request.id,
        transform=_transform(result, files),
        inverse=None if result.inverse is None else _inverse(result.inverse, task.inputs.moving.grid, files, way.check),
        warped=files.array("warped", result.warped.data),
        jacobian=files.array("jacobian", result.determinant.data) if request.outputs.jacobian else None,
        attention=[{"name": name, **files.array(name, image.data)} for name, image in maps.items()],
        report=summary,
        notes=notes,
        seconds=round(time.perf_counter() - began, 3),
        device=result.device,
    )


class _Way:
    """How far a job is; whoever reports learns whether to stop."""

    def __init__(self, progress: Progress, cancelled: CancelCheck) -> None:
        self._progress, self.cancelled = progress, cancelled
        self._reached = 0.0

    def check(self) -> None:
        """Stop if that is wanted."""
        if self.cancelled():
            raise Cancelled

    def report(self, fraction: float, stage: str, message: str = "") -> None:
        """Tell where the job is; the fraction told never falls."""
        self.check()
        self._reached = max(self._reached, fraction)
        self._progress(self._reached, stage, message)


@dataclass(frozen=True)
class _Task:
    """A request, read and understood."""

    inputs: Inputs
    settings: Settings
    truth: Truth
    start: Transform | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, request: Register, check: Callable[[], None]) -> _Task:
        """Read the arrays of a request; ``check`` is called between them and may raise."""
        choices = Choices(request.settings, request.outputs.inverse)
        fixed, moving = (read_image(request.folder, getattr(request, side), side) for side in ("fixed", "moving"))
        check_chain(choices.settings, fixed.dim)
        found: dict[str, Image | None] = {}
        for name in ("fixed_mask", "moving_mask", "fixed_labels", "moving_labels"):
            check()
            volume = getattr(request, name)
            read = read_mask if name.endswith("mask") else read_labels
            found[name] = None if volume is None else read(request.folder, volume, name.replace("_", "-"))
        truth = Truth(
            found["fixed_labels"],
            found["moving_labels"],
            _landmarks(request.fixed_landmarks, fixed.dim, "fixed-landmarks"),
            _landmarks(request.moving_landmarks, fixed.dim, "moving-landmarks"),
        )
        settings = choices.settings
        alone = has_rigid(settings) or "organ" in (settings.init or ()) or request.outputs.motion
        check_truth(truth, fixed.dim, alone)
        start = _start(request, choices, truth, fixed.dim)
        if start is not None and settings.init is None:
            settings = replace(settings, init=("none",))
        masks = found["fixed_mask"], found["moving_mask"]
        inputs = gather((fixed, moving), masks, truth, settings, choices.gland_labels)
        return cls(inputs, settings, truth, start, tuple(choices.notes))


def _landmarks(points: _Points, dim: int, name: str) -> Landmarks | None:
    if points is None:
        return None
    if len(points[0]) != dim:
        raise ValueError(f"{name}: expected {dim}D points like the image, got {len(points[0])}D")
    return Landmarks(np.asarray(points, dtype=np.float64), tuple(str(n + 1) for n in range(len(points))))


def _start(request: Register, choices: Choices, truth: Truth, dim: int) -> Transform | None:
    if choices.landmarks and request.start is not None:
        raise ValueError("start: a transform and landmarks both say where to start; pass one of them")
    if choices.landmarks:
        return landmark_start(truth)
    if request.start is None:
        return None
    if len(request.start) != dim + 1:
        raise ValueError(f"start: expected a matrix of {dim + 1} rows for {dim}D images, got {len(request.start)}")
    return AffineTransform.from_homogeneous(request.start)


def _registered(task: _Task, way: _Way) -> tuple[Registration, _Task]:
    """Register; once more on the CPU where the GPU has too little memory."""

    def share(fraction: float, stage: str, message: str) -> None:
        way.report(_READ + (_REGISTERED - _READ) * fraction, stage, message)

    def attempt(task: _Task) -> Registration | None:
        try:
            return register(task.inputs, task.settings, start=task.start, progress=share, cancelled=way.cancelled)
        except torch.OutOfMemoryError:
            if task.settings.device == "cpu":
                raise
            return None

    result = attempt(task)
    if result is None:
        # Outside of the handler: the error keeps alive what was on the GPU.
        forget_models()
        free_memory()
        task = replace(task, settings=replace(task.settings, device="cpu"), notes=(*task.notes, _ON_CPU))
        result = attempt(task)
        assert result is not None
    return result, task


def _attention(task: _Task, result: Registration) -> tuple[dict[str, Image], tuple[str, ...]]:
    """Return what the last network looked at before its own step, on the fixed grid, and why there is nothing."""
    inputs, ran = task.inputs, result.network
    if ran is None or inputs.fixed_gland is None:
        return {}, (_NO_MAPS,)
    torch.manual_seed(task.settings.seed)
    trained = load_trained(ran.model, task.settings.weights)
    networks = [network.cpu() for network in trained.networks if isinstance(network, AttentionReg)]
    if not networks:
        return {}, (_NO_MAPS,)
    start, before = linear_start(result.initial), len(networks) - 1
    try:
        if before:
            start = register_rigid(
                networks, inputs.fixed, inputs.moving, inputs.fixed_gland, start, stages=before
            ).transform
        found = explain(networks[-1], inputs, start)
    except ValueError as error:
        return {}, (f"There are no attention maps: {error}.",)
    maps = found.volumes(inputs.fixed.grid, inputs.moving.grid)
    return {name: image for name, image in maps.items() if not name.endswith("_native")}, ()


def _motion(task: _Task, result: Registration) -> dict[str, object]:
    labels, grid = task.truth.fixed_labels, task.inputs.fixed.grid
    if labels is not None and not labels.grid.same_as(grid):
        labels = resample(labels, grid, "nearest")
    return motion_of(result, task.inputs.moving.grid, labels).figures


def _transform(result: Registration, files: Results) -> dict[str, object]:
    linear = _rows(result.transform)
    field = None if linear else files.array("field", result.field.data.movedim(0, -1))
    return {"linear": linear, "field": field}


def _inverse(inverse: Inverse, grid: Grid, files: Results, check: Callable[[], None]) -> dict[str, object]:
    """Return the way back, as a matrix or on the moving image's grid."""
    error = {"mean": inverse.error_mean_mm, "max": inverse.error_max_mm}
    linear = _rows(inverse.transform)
    if linear is not None:
        return {"linear": linear, "field": None, "error_mm": error}
    data = torch.empty((*grid.shape, grid.dim))
    for rows, points in slabs(grid):
        check()
        data[rows] = (inverse.transform.map(points) - points).float().movedim(0, -1)
    geometry = {"spacing": grid.spacing, "origin": grid.origin, "direction": grid.direction}
    return {"linear": None, "field": {**files.array("inverse", data), **geometry}, "error_mm": error}


def _rows(transform: Transform) -> list[list[float]] | None:
    """Return a linear transform's matrix; None: it is not linear."""
    try:
        rows: list[list[float]] = linear_start(transform).homogeneous.tolist()
    except ValueError:
        return None
    return rows
