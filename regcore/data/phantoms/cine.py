"""A short-axis cine of a beating heart, whose motion is known exactly and stays in the plane of each slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from regcore.data.phantoms.chest import CONTRAST, borders, chest
from regcore.data.phantoms.heart import Heart
from regcore.data.phantoms.pair import Phantom
from regcore.data.phantoms.scanner import coil, label_map, rician, stored
from regcore.data.phantoms.shapes import Part, Waves, grid_around, nearest_voxels, paint, voxel_points
from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import write_image
from regcore.landmarks import Landmarks
from regcore.transform import DenseTransform, RigidTransform

_SIZE = (128, 128, 10)
_PIXEL = 1.5  # mm
_EXCITED = 0.85  # part of the distance between slices that one slice shows
_SYSTOLE = 0.38  # part of the cycle until end systole
# About the patient's axes (degrees): right in the image is then left and back, down is the feet, and up the stack, from
# apex to base, is right, back and up.
_SHORT_AXIS = np.array((-60.0, -12.0, 41.5))
_EDGE = 0.55  # mm
_NOISE, _BIAS = 0.025, 0.12


@dataclass(frozen=True, eq=False)
class CineSeries:
    """All phases of one beat.

    Attributes:
        frames: stacks on one grid; the first is end diastole.
        labels: 1 right cavity, 2 myocardium, 3 left cavity, of each frame.
        phases: how far each frame has contracted: 0 end diastole, 1 end systole.
        truths: map points of the first frame to points of each (mm, LPS).
    """

    frames: tuple[Image, ...]
    labels: tuple[Image, ...]
    phases: tuple[float, ...]
    truths: tuple[DenseTransform, ...]


@dataclass(frozen=True, eq=False)
class Scan:
    """A heart in its chest and the stack that is taken of it, before noise.

    Attributes:
        heart: anatomy and motion.
        parts: what is painted, at end diastole.
        texture: unevenness of the tissues.
        contrasts: intensities of the tissues at end diastole and at end systole.
        sensitivity: of the coil, ``(*shape)``.
        grid: of every frame.
    """

    heart: Heart
    parts: list[Part]
    texture: Waves
    contrasts: tuple[dict[str, float], dict[str, float]]
    sensitivity: NDArray
    grid: Grid

    @classmethod
    def of(cls, seed: int) -> Scan:
        """Draw the patient and the slices of that number."""
        rng = np.random.default_rng([seed, 3])
        thickness = float(rng.choice([8.0, 10.0]))
        heart = Heart.random(rng, apex=-thickness * (_SIZE[2] - 1) / 2 + rng.uniform(0.6, 1.1) * thickness)
        parts, texture = chest(rng, heart), Waves.random(rng, 16, 5.0, 25.0)
        first = {tissue: value * rng.uniform(0.93, 1.07) for tissue, value in CONTRAST.items()}
        # Fast blood loses signal; the muscle's signal changes a little, too.
        factors = {"blood": rng.uniform(0.88, 0.96), "right blood": rng.uniform(0.88, 0.98), "myocardium": 1.08}
        last = {tissue: value * factors.get(tissue, 1.0) for tissue, value in first.items()}
        turn = RigidTransform.from_euler((_SHORT_AXIS + rng.uniform(-8, 8, 3)).tolist(), (0, 0, 0)).matrix
        grid = grid_around(rng.normal((35, -25, 40), 8).tolist(), _SIZE, (_PIXEL, _PIXEL, thickness), turn)
        sensitivity = coil(voxel_points(grid), rng, _BIAS)
        return cls(heart, parts, texture, (first, last), sensitivity, grid)

    def clean(self, phase: float) -> tuple[NDArray, NDArray[np.uint8]]:
        """Return intensities without noise and labels, both ``(*shape)``, at ``phase``."""
        first, last = self.contrasts
        contrast = {tissue: (1 - phase) * value + phase * last[tissue] for tissue, value in first.items()}
        middle = self._seen(contrast, phase, 0.0)
        # A slice shows the mean over its thickness, its labels are those of its middle.
        third = _EXCITED * self.grid.spacing[2] / 3
        value = (middle[0] + sum(self._seen(contrast, phase, offset)[0] for offset in (-third, third))) / 3
        return value * self.sensitivity, middle[1]

    def _seen(self, contrast: dict[str, float], phase: float, offset: float) -> tuple[NDArray, NDArray[np.uint8]]:
        """Return intensities and labels ``offset`` mm above the slices' middles."""
        points = voxel_points(self.local) + np.array([0, 0, offset]).reshape(3, 1, 1, 1)
        tissue = self.heart.relaxed(points, phase).astype(np.float32)
        value, labels = paint(self.parts, contrast, tissue, _EDGE)
        return value * (1 + 0.03 * self.texture(tissue)), labels

    @property
    def local(self) -> Grid:
        """The stack in the heart's own frame."""
        return grid_around((0, 0, 0), self.grid.size, self.grid.spacing, np.eye(3))

    def frame(self, phase: float, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return the scanner's image and its labels at ``phase``."""
        value, labels = self.clean(phase)
        return stored(rician(value, rng, _NOISE), self.grid, 1000, "int16"), label_map(labels, self.grid)

    def truth(self, phase: float) -> DenseTransform:
        """Return the map of points at end diastole to points at ``phase``."""
        here = voxel_points(self.local)
        moved = np.tensordot(self.grid.axes, self.heart.contracted(here, phase) - here, axes=1)
        return DenseTransform(DisplacementField(torch.from_numpy(moved.astype(np.float32)), self.grid))

    def landmarks(self) -> Landmarks:
        """Return points on the ventricles' borders at end diastole."""
        heights = {f"slice {k}": float(self.local.to_world((0, 0, k))[2]) for k in (3, 4, 6, 8)}
        named = borders(self.heart, heights)
        world = self.grid.to_world(self.local.to_index(np.stack(list(named.values()))))
        return Landmarks.of(nearest_voxels(world, self.grid), named)


def cine(seed: int) -> Phantom:
    """Make the pair: fixed is end diastole, moving is end systole of the same slices.

    A stack of ten slices, 1.5 x 1.5 mm and 8 or 10 mm thick, oblique in the scanner; the first slice is the apex, the
    last lies in the basal part of the left ventricle. The tissue stays in its slice: the displacement has no
    component along the slices' normal. The left cavity loses 53 to 64 % of its volume, the right one 40 to 52 %, its
    free wall moving to the septum; the myocardium keeps its own volume within 5 % and so thickens; the apex turns
    against the base. Labels, as in the ACDC challenge: 1 right cavity, 2 myocardium, 3 left cavity.
    """
    scan = Scan.of(seed)
    (fixed, fixed_labels), (moving, moving_labels) = map(scan.frame, (0.0, 1.0), _noises(seed, 2))
    truth, landmarks = scan.truth(1), scan.landmarks()
    moved = Landmarks.of(truth(landmarks.points), landmarks.labels)
    return Phantom(fixed, moving, fixed_labels, moving_labels, landmarks, moved, truth)


def cine_series(seed: int, frames: int) -> CineSeries:
    """Make one beat of the same heart as `cine` shows.

    Args:
        seed: 0 or more.
        frames: evenly spread over the beat, from end diastole on.

    Raises:
        ValueError: a negative seed or less than two frames.
    """
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}")
    if frames < 2:
        raise ValueError(f"frames: expected at least 2, got {frames}")
    scan = Scan.of(seed)
    phases = tuple(_contraction(n / frames) for n in range(frames))
    images, labels = zip(*map(scan.frame, phases, _noises(seed, frames)), strict=True)
    return CineSeries(images, labels, phases, tuple(map(scan.truth, phases)))


def write_cine_series(series: CineSeries, folder: Path) -> None:
    """Write the middle slice over time, ``series.nii.gz``, and its labels, ``labels.nii.gz``: the third axis is time.

    Raises:
        ValueError: the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output: cannot make the folder {folder}: {error.strerror}") from error
    for name, stacks in (("series", series.frames), ("labels", series.labels)):
        stack, middle = stacks[0].grid, stacks[0].grid.size[2] // 2
        data = torch.stack([image.data[middle] for image in stacks])
        grid = Grid.of(data.shape[::-1], (*stack.spacing[:2], 1.0), stack.to_world((0, 0, middle)).tolist(), stack.axes)
        write_image(Image(data, grid, stacks[0].pixel_type), folder / f"{name}.nii.gz")


def _noises(seed: int, frames: int) -> list[np.random.Generator]:
    return np.random.default_rng([seed, 3, 1]).spawn(frames)


def _contraction(time: float) -> float:
    """Return the phase at a part of the beat: up to 1 in systole, back to 0, the filling fast first."""
    if time < _SYSTOLE:
        return float(np.sin(np.pi / 2 * time / _SYSTOLE) ** 2)
    return float(np.cos(np.pi / 2 * ((time - _SYSTOLE) / (1 - _SYSTOLE)) ** 0.75) ** 2)
