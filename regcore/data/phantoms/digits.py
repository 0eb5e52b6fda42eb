"""A 2D pair of 28 x 28 pixels: a digit drawn with a pen, and the same digit bent, with the deformation known exactly.

Points are ``(3, *any)`` mm, right and down of the middle, the third component 0: the shared helpers are for space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from regcore.data.phantoms.deformation import Pushes
from regcore.data.phantoms.pair import Phantom
from regcore.data.phantoms.scanner import label_map, stored
from regcore.data.phantoms.shapes import grid_around, nearest_voxels, voxel_points
from regcore.field import DisplacementField
from regcore.grid import Matrix
from regcore.landmarks import Landmarks
from regcore.transform import DenseTransform

_Line = tuple[tuple[float, float], ...]

_EDGE = 0.3  # mm, softness of the line's border
_PER_STROKE = 7  # landmarks


def _arc(centre: tuple[float, float], radii: tuple[float, float], start: float, end: float) -> _Line:
    """Return points of an arc of an ellipse, from angle to angle in degrees: 0 is right, 90 is down."""
    angles = np.deg2rad(np.linspace(start, end, 2 + round(abs(end - start) / 15)))
    return tuple((centre[0] + radii[0] * float(np.cos(a)), centre[1] + radii[1] * float(np.sin(a))) for a in angles)


_STROKES: tuple[tuple[_Line, ...], ...] = (
    (_arc((0, 0), (5.5, 8.5), 0, 360),),
    (((-3, -5.5), (1, -8.5), (1, 8.5)), ((-3, 8.5), (5, 8.5))),
    ((*_arc((0, -4), (5, 4.5), -170, 35), (-5.5, 8.5), (6, 8.5)),),
    ((*_arc((-0.5, -4.3), (5, 4.2), -150, 90), *_arc((-0.5, 4.2), (5.8, 4.3), -75, 150)),),
    (((1.5, -8.5), (-5.5, 3), (6, 3)), ((3, -1), (3, 8.5))),
    (((5, -8.5), (-4, -8.5), (-4.5, -1.5), *_arc((-0.3, 3), (5.8, 5.5), -135, 140)),),
    (((3.5, -8.5), *_arc((0, 3.5), (4.8, 5), 200, 560)),),
    (((-5.5, -8.5), (5.5, -8.5), (-1.5, 8.5)), ((-2.5, 0), (4.5, 0))),
    (_arc((0, -4.3), (4.2, 4.2), 0, 360), _arc((0, 4.3), (5, 4.3), 0, 360)),
    ((*_arc((0, -3.8), (4.8, 4.7), 0, -360), (3.5, 8.5)),),
)


def digits(seed: int) -> Phantom:
    """Make the pair; the digit is drawn in the moving image, and fixed(x) = digit(truth(x)).

    So nothing is inverted and the truth is exact at every fixed pixel: four smooth pushes, then an affine map, together
    at most 3 mm (3 pixels) anywhere. The last figure of ``seed`` is the digit; its size, its slant and the line's width
    vary. There is no noise, as in scans of handwriting that were cleaned. Label 1 is the line.
    """
    writing, motion = np.random.default_rng([seed, 4]).spawn(2)
    strokes, half_width = _written(writing, seed % 10)
    grid = grid_around((0, 0), (28, 28), (1, 1), np.eye(2))
    points = voxel_points(grid)
    here = np.concatenate([points, np.zeros((1, *grid.shape))])
    bend = _Bend.random(motion).scaled_to(motion.uniform(2.4, 3.0), here)
    there = bend(here)
    truth = DenseTransform(DisplacementField(torch.from_numpy((there - here)[:2].astype(np.float32)), grid))

    levels = [_distance(strokes, places) - half_width for places in (there, here)]
    fixed, moving = [stored(1 / (1 + np.exp(level / _EDGE)), grid, 255, "uint8") for level in levels]
    fixed_labels, moving_labels = [label_map((level < 0).astype(np.uint8), grid) for level in levels]
    named = _points_along(strokes)
    landmarks = nearest_voxels(bend.inverse_at(np.stack(list(named.values()), axis=1))[:2].T, grid)
    marks, moved = (Landmarks.of(at, named) for at in (landmarks, truth(landmarks)))
    return Phantom(fixed, moving, fixed_labels, moving_labels, marks, moved, truth)


@dataclass(frozen=True, eq=False)
class _Bend:
    """``x -> x' + matrix x' + shift`` with ``x' = pushes(x)``."""

    pushes: Pushes
    matrix: Matrix
    shift: Matrix

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Bend:
        flat = np.array([1.0, 1.0, 0.0])
        turn, slant, wide, high = rng.uniform(-0.08, 0.08, 4)
        matrix = np.array([[wide, slant - turn, 0], [turn, high, 0], [0, 0, 0]])
        angles = rng.uniform(0, 2 * np.pi) + np.pi / 2 * np.arange(4)
        centres = 6 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
        vectors = rng.normal(0, 1.5, (4, 3)) * flat
        return cls(Pushes(centres, rng.uniform(4, 7, 4), vectors), matrix, rng.normal(0, 0.7, 3) * flat)

    def __call__(self, points: Matrix) -> NDArray[np.float64]:
        pushed = self.pushes(points)
        shift = self.shift.reshape(3, *[1] * (points.ndim - 1))
        return np.asarray(pushed + np.tensordot(self.matrix, pushed, axes=1) + shift)

    def inverse_at(self, points: Matrix) -> NDArray[np.float64]:
        """Return which points ``(3, n)`` are mapped to ``points`` (mm)."""
        pushed = np.linalg.inv(np.eye(3) + self.matrix) @ (points - self.shift[:, None])
        return self.pushes.inverse_at(pushed)

    def scaled_to(self, largest: float, points: Matrix) -> _Bend:
        """Return the map stretched so that none of ``points`` moves further than ``largest`` mm, and one that far."""
        scaled = self
        for _ in range(20):
            factor = largest / np.linalg.norm(scaled(points) - points, axis=0).max()
            pushes = replace(scaled.pushes, vectors=scaled.pushes.vectors * factor)
            scaled = _Bend(pushes, scaled.matrix * factor, scaled.shift * factor)
        return scaled


def _written(rng: np.random.Generator, digit: int) -> tuple[list[Matrix], float]:
    """Return the strokes as points ``(3, n)`` and half the width of the line (mm)."""
    size, slant = rng.uniform(0.86, 1.0, 2), rng.uniform(-0.05, 0.25)
    matrix = np.array([[size[0], -slant], [0, size[1]], [0, 0]])
    return [matrix @ np.array(stroke).T for stroke in _STROKES[digit]], rng.uniform(1.2, 1.7)


def _distance(strokes: list[Matrix], points: Matrix) -> NDArray[np.float64]:
    """Return how far ``points`` (3, *any) are from the middle of the line, ``(*any)`` mm."""
    nearest = np.full(points.shape[1:], np.inf)
    for stroke in strokes:
        for start, end in zip(stroke.T[:-1], stroke.T[1:], strict=True):
            way, offset = end - start, np.moveaxis(points, 0, -1) - start
            along = np.clip(offset @ way / (way @ way), 0, 1)
            nearest = np.minimum(nearest, np.linalg.norm(offset - along[..., None] * way, axis=-1))
    return nearest


def _points_along(strokes: list[Matrix]) -> dict[str, Matrix]:
    """Return named points evenly along the strokes, ``(3,)`` mm each."""
    named = {}
    for number, stroke in enumerate(strokes, start=1):
        passed = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(stroke), axis=0))])
        closed = np.allclose(stroke[:, 0], stroke[:, -1])
        for n, place in enumerate(np.linspace(0, passed[-1], _PER_STROKE, endpoint=not closed), start=1):
            named[f"stroke {number} point {n}"] = np.array([np.interp(place, passed, axis) for axis in stroke])
    return named
