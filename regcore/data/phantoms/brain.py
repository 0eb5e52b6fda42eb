"""A T1-like head pair with a known smooth deformation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from regcore.data.phantoms.deformation import Pushes
from regcore.data.phantoms.pair import Phantom
from regcore.data.phantoms.scanner import label_map, magnetic, stored
from regcore.data.phantoms.shapes import (
    Ellipsoid,
    Level,
    Part,
    Points,
    Waves,
    grid_around,
    nearest_voxels,
    paint,
    surface_point,
    voxel_points,
)
from regcore.field import DisplacementField
from regcore.grid import Matrix
from regcore.landmarks import Landmarks
from regcore.transform import DenseTransform

_CONTRAST = {
    "scalp": 0.72,
    "skull": 0.10,
    "fluid": 0.20,
    "cortex": 0.52,
    "white": 0.86,
    "thalamus": 0.67,
    "caudate": 0.58,
    "putamen": 0.62,
    "pallidum": 0.76,
    "hippocampus": 0.55,
    "cerebellum": 0.60,
    "stem": 0.78,
}
# Tissue, label (the right one has the next number), centre and half axes of the left one (mm), turn about x (degrees).
_DEEP = (
    ("thalamus", 6, (11, 8, 3), (8, 14, 8), 0),
    ("caudate", 8, (14, -24, 12), (5, 14, 9), 25),
    ("putamen", 10, (26, -8, 1), (6, 17, 10), 0),
    ("pallidum", 12, (19, -3, -1), (4, 9, 6), 0),
    ("hippocampus", 14, (27, 18, -15), (6, 20, 6), -20),
    ("fluid", 3, (10, -2, 19), (6, 32, 9), 15),
)
_MEAN_SHIFT = 5.0  # mm, of the landmarks


def brain(seed: int) -> Phantom:
    """Make the pair; the anatomy is defined in the moving image, and fixed(x) = anatomy(truth(x)).

    So nothing is inverted and the truth is exact at every fixed voxel. Labels: 1 cortex, 2 white matter, 3 and 4
    lateral ventricles, 5 third ventricle, 6 and 7 thalami, 8 and 9 caudates, 10 and 11 putamina, 12 and 13 pallida,
    14 and 15 hippocampi (left, right), 16 cerebellum, 17 brain stem.
    """
    anatomy, motion, fixed_noise, moving_noise = np.random.default_rng([seed, 1]).spawn(4)
    parts, features = _anatomy(anatomy)
    texture = Waves.random(anatomy, 20, 9.0, 30.0)
    names, places = list(features), np.stack(list(features.values()), axis=1)
    pushes = _pushes(motion, places)

    fixed_grid = grid_around((0, 0, 0), (96, 112, 96), (2, 2, 2), np.eye(3))
    # Another origin, size and axis order than the fixed image, as from another scanner.
    moving_grid = grid_around((3, -2, 1), (100, 114, 98), (2, 2, 2), np.diag([-1.0, -1.0, 1.0]))
    here = voxel_points(fixed_grid)
    there = pushes(here)
    field = DisplacementField(torch.from_numpy((there - here).astype(np.float32)), fixed_grid)

    fixed, fixed_labels = _seen(parts, texture, there)
    moving_points = voxel_points(moving_grid)
    moving, moving_labels = _seen(parts, texture, moving_points)
    truth = DenseTransform(field)
    landmarks = nearest_voxels(pushes.inverse_at(places).T, fixed_grid)
    return Phantom(
        stored(magnetic(fixed, here.astype(np.float32), fixed_noise, 0.02, 0.06), fixed_grid, 1000, "int16"),
        stored(
            magnetic(moving, moving_points.astype(np.float32), moving_noise, 0.02, 0.06), moving_grid, 1000, "int16"
        ),
        label_map(fixed_labels, fixed_grid),
        label_map(moving_labels, moving_grid),
        Landmarks.of(landmarks, names),
        Landmarks.of(truth(landmarks), names),
        truth,
    )


def _seen(parts: list[Part], texture: Waves, points: NDArray[np.float64]) -> tuple[NDArray, NDArray[np.uint8]]:
    single = points.astype(np.float32)
    value, labels = paint(parts, _CONTRAST, single, edge=0.6)
    return value * (1 + 0.045 * texture(single)), labels


def _pushes(rng: np.random.Generator, places: Matrix) -> Pushes:
    # Centres spread evenly over directions and depths, so that no part of the head stays still.
    centres = np.concatenate([_spread(rng, 6, 0.3), _spread(rng, 12, 0.75)]) * (66, 82, 66)
    vectors = rng.normal(size=centres.shape)
    # Without their mean, or much of the motion is one shift that any initial transform takes away; equally long, so
    # that no single one stands out.
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Pushes(centres, rng.uniform(19, 28, len(centres)), vectors).scaled_to(_MEAN_SHIFT, places)


def _spread(rng: np.random.Generator, count: int, radius: float) -> Matrix:
    """Return ``(count, 3)`` points about evenly over a sphere, turned at random (Fibonacci's spiral)."""
    n = np.arange(count) + 0.5
    height, turn = 1 - 2 * n / count, np.pi * (1 + 5**0.5) * n + rng.uniform(0, 2 * np.pi)
    ring = np.sqrt(1 - height**2)
    return radius * np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1) @ _random_rotation(rng)


def _random_rotation(rng: np.random.Generator) -> Matrix:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(q * np.sign(np.diag(r)))


def _anatomy(rng: np.random.Generator) -> tuple[list[Part], dict[str, Matrix]]:
    """Return the parts from back to front, and named points at their borders."""

    def shape(centre: tuple[float, ...], radii: tuple[float, ...], turn: float = 0.0) -> Ellipsoid:
        angle = np.deg2rad(turn)
        axes = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        return Ellipsoid(
            np.asarray(centre) + rng.normal(0, 0.7, 3), np.asarray(radii) * rng.uniform(0.93, 1.07, 3), axes
        )

    head = shape((0, 0, -2), (80, 98, 86))
    skull, fluid = (Ellipsoid(head.centre, head.radii - depth, head.axes) for depth in (6.0, 12.0))
    cerebrum, folds = shape((0, -2, 5), (65, 82, 66)), Waves.random(rng, 16, 13.0, 24.0)
    cerebellum, stem = shape((0, 47, -43), (46, 29, 23)), shape((0, 18, -48), (12, 13, 32))
    third = shape((0, 2, 3), (2.5, 12, 9))
    parts = [
        Part("scalp", head),
        Part("skull", skull),
        Part("fluid", fluid),
        Part("cortex", _cortex(cerebrum, folds, 0.5, 2.5), 1),
        Part("white", _cortex(cerebrum, folds, 7.0, 3.2), 2),
        Part("fluid", Ellipsoid(cerebellum.centre, cerebellum.radii + 2.5, cerebellum.axes), 0),
        Part("cerebellum", cerebellum, 16),
        Part("stem", stem, 17),
        Part("fluid", third, 5),
    ]
    features = {f"cerebellum {side}": surface_point(cerebellum, cerebellum.centre, way) for side, way in _WAYS.items()}
    for tissue, label, centre, radii, turn in _DEEP:
        for offset, (side, sign) in enumerate((("left", 1), ("right", -1))):
            made = shape((sign * centre[0], *centre[1:]), radii, turn)
            parts.append(Part(tissue, made, label + offset))
            name = "ventricle" if tissue == "fluid" else tissue
            outwards = {"anterior": (0, -1, 0), "posterior": (0, 1, 0), "lateral": (sign, 0, 0)}
            for way, direction in outwards.items():
                features[f"{side} {name} {way}"] = surface_point(made, made.centre, direction)
    return parts, features


_WAYS = {"left": (1, 0, 0), "right": (-1, 0, 0), "posterior": (0, 1, 0), "inferior": (0, 0, -1)}


def _cortex(cerebrum: Ellipsoid, folds: Waves, depth: float, relief: float) -> Level:
    """Return the surface ``depth`` mm below the cerebrum's, with gyri of ``relief`` mm and the cleft between halves."""

    def level(points: Points) -> NDArray:
        cleft = 1.5 + 0.5 * depth - np.abs(points[0]) - 0.25 * np.maximum(0, 30 - points[2])
        return np.asarray(np.maximum(cerebrum(points) + depth + relief * folds(points), cleft))

    return level
