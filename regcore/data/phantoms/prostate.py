"""A T2-like prostate MRI and a transrectal ultrasound of it, rigidly moved."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from regcore.data.phantoms.pair import Phantom
from regcore.data.phantoms.scanner import label_map, magnetic, speckle, stored
from regcore.data.phantoms.shapes import (
    Ellipsoid,
    Level,
    Part,
    Waves,
    grid_around,
    paint,
    surface_point,
    voxel_points,
)
from regcore.grid import Grid, Matrix
from regcore.landmarks import Landmarks
from regcore.transform import RigidTransform

_CENTRE = np.array([2.0, 12.0, -35.0])  # of the gland in the scanner (mm)
_PROBE = _CENTRE + np.array([0.0, 31.0, 0.0])  # of the transducer, in the rectum
_MRI = {
    "fat": 0.55,
    "muscle": 0.20,
    "bone": 0.32,
    "wall": 0.24,
    "urine": 1.0,
    "lumen": 0.06,
    "vesicle": 0.82,
    "capsule": 0.22,
    "peripheral": 0.80,
    "transition": 0.48,
    "dark nodule": 0.34,
    "bright nodule": 0.68,
    "urethra": 0.72,
    "lesion": 0.36,
}
_ULTRASOUND = {
    "fat": 0.72,
    "muscle": 0.42,
    "bone": 0.85,
    "wall": 0.70,
    "urine": 0.03,
    "lumen": 0.04,
    "vesicle": 0.20,
    "capsule": 0.95,
    "peripheral": 0.42,
    "transition": 0.27,
    "dark nodule": 0.20,
    "bright nodule": 0.38,
    "urethra": 0.14,
    "lesion": 0.18,
}


def prostate(seed: int) -> Phantom:
    """Make the pair; the anatomy is defined in the fixed MRI, and moving(y) = anatomy(truth^-1(y)).

    The motion is up to 8 mm and 8 degrees. Labels: 1 peripheral zone, 2 transition zone, 3 urethra, 4 lesion,
    5 bladder, 6 rectum, 7 seminal vesicles.
    """
    anatomy, motion, fixed_noise, moving_noise = np.random.default_rng([seed, 2]).spawn(4)
    parts, features = _anatomy(anatomy)
    truth = _motion(motion)

    oblique = RigidTransform.from_euler((-12, 3, 5), (0, 0, 0)).matrix
    fixed_grid = grid_around((3.0, 10.0, -32.0), (112, 112, 28), (0.8, 0.8, 3.0), oblique)
    moving_grid = grid_around((2.0, 9.0, -35.0), (120, 108, 92), (0.7, 0.7, 0.9), np.eye(3))

    here = voxel_points(fixed_grid).astype(np.float32)
    fixed, fixed_labels = paint(parts, _MRI, here, edge=0.5)
    fixed *= 1 + 0.08 * Waves.random(anatomy, 16, 5.0, 20.0)(here)
    moving, moving_labels = _ultrasound(parts, truth, moving_grid, moving_noise)
    names = list(features)
    landmarks = np.stack(list(features.values()))
    return Phantom(
        stored(magnetic(fixed, here, fixed_noise, 0.03, 0.08), fixed_grid, 1000, "int16"),
        stored(moving, moving_grid, 255, "uint8"),
        label_map(fixed_labels, fixed_grid),
        label_map(moving_labels, moving_grid),
        Landmarks.of(landmarks, names),
        Landmarks.of(truth(landmarks), names),
        truth,
    )


def _motion(rng: np.random.Generator) -> RigidTransform:
    directions = rng.normal(size=(2, 3))
    axis, way = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    angle, length = np.deg2rad(rng.uniform(3, 8)), rng.uniform(3, 8)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return RigidTransform(matrix, length * way, _CENTRE)


def _ultrasound(
    parts: list[Part], truth: RigidTransform, grid: Grid, rng: np.random.Generator
) -> tuple[NDArray, NDArray[np.uint8]]:
    """Return echoes and labels: what the probe sees of the anatomy that ``truth`` has moved."""
    there = voxel_points(grid)
    back = truth.inverse().homogeneous
    tissue_points = np.tensordot(back[:3, :3], there, axes=1) + back[:3, 3].reshape(3, 1, 1, 1)
    echo, labels = paint(parts, _ULTRASOUND, tissue_points.astype(np.float32), edge=0.5)
    echo *= 1 + 0.10 * Waves.random(rng, 12, 6.0, 20.0)(tissue_points.astype(np.float32))
    x, y, z = there.astype(np.float32) - truth(_PROBE).astype(np.float32).reshape(3, 1, 1, 1)
    depth, angle = np.hypot(x, y), np.arctan2(x, -y)
    echo *= speckle(rng, grid.shape, 0.55) * np.exp(-0.006 * depth) * _shadow(rng, depth, angle, z)
    seen = (np.abs(angle) < np.deg2rad(72)) & (depth > 9.5) & (depth < 74) & (np.abs(z) < 39)
    # Ultrasound is shown on a compressed scale; a power is close to the usual logarithm.
    return np.where(seen, 0.75 * np.maximum(echo, 0) ** 0.8 + 0.01, 0), labels


def _shadow(rng: np.random.Generator, depth: NDArray, angle: NDArray, z: NDArray) -> NDArray:
    """Return how much sound is left behind two small stones."""
    left = np.ones_like(depth)
    for _ in range(2):
        start, towards, level = rng.uniform(22, 34), np.deg2rad(rng.uniform(-35, 35)), rng.uniform(-12, 12)
        wedge = np.exp(-(((angle - towards) / 0.07) ** 2) - ((z - level) / 3.5) ** 2)
        left *= 1 - 0.85 * wedge / (1 + np.exp(np.clip(start - depth, -30, 30)))
    return left


def _anatomy(rng: np.random.Generator) -> tuple[list[Part], dict[str, Matrix]]:
    """Return the parts from back to front, and named points at their borders."""

    def shape(centre: tuple[float, ...], radii: tuple[float, ...], turn: float = 0.0) -> Ellipsoid:
        axes = RigidTransform.from_euler((0, 0, turn), (0, 0, 0)).matrix
        middle = _CENTRE + np.asarray(centre) + rng.normal(0, 0.8, 3)
        return Ellipsoid(middle, np.asarray(radii) * rng.uniform(0.92, 1.08, 3), axes)

    bladder, rectum = shape((0, -12, 38), (27, 21, 17)), shape((0, 31, 0), (13, 11, 95))
    gland_body, zone = shape((0, 0, 0), (24, 17, 21)), shape((0, -4, 3), (15, 10, 14))
    gland = _bumpy(gland_body, Waves.random(rng, 6, 18.0, 35.0), 1.0)
    urethra, side = shape((0, -2, -3), (2.3, 2.3, 19)), float(rng.choice([-1, 1]))
    lesion = shape((13 * side, 7, rng.uniform(-8, 6)), (4.5, 3.5, 5))
    parts = [
        Part("fat", lambda points: np.full(points.shape[1:], -50, dtype=points.dtype)),
        *(Part("muscle", shape((s * 46, -2, -4), (13, 36, 60), s * 8)) for s in (1, -1)),
        Part("bone", shape((0, -46, 2), (24, 11, 16))),
        Part("wall", _grown(bladder, 2.5)),
        Part("urine", bladder, 5),
        Part("wall", _grown(rectum, 2.5)),
        Part("lumen", rectum, 6),
        *(Part("vesicle", shape((s * 14, 14, 24), (13, 5, 6), s * -15), 7) for s in (1, -1)),
        Part("capsule", _grown(gland, 1.1)),
        Part("peripheral", gland, 1),
        Part("transition", zone, 2),
        *_nodules(rng, zone),
        Part("urethra", urethra, 3),
        Part("lesion", lesion, 4),
    ]
    corners = [way for way in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, way)) in (1, 3)]
    features = {f"gland {_named(way)}": surface_point(gland, gland_body.centre, way) for way in corners}
    sides = [way for way in corners if sum(map(abs, way)) == 1]
    features |= {f"transition zone {_named(way)}": surface_point(zone, zone.centre, way) for way in sides}
    features |= {f"lesion {_named(way)}": surface_point(lesion, lesion.centre, way) for way in sides[:4]}
    return parts, features


def _nodules(rng: np.random.Generator, zone: Ellipsoid) -> list[Part]:
    made = []
    for n in range(6):
        way = rng.normal(size=3)
        centre = zone.centre + zone.radii * way / np.linalg.norm(way) * rng.uniform(0.35, 0.6)
        tissue = "dark nodule" if n % 2 else "bright nodule"
        made.append(Part(tissue, Ellipsoid(centre, rng.uniform(2.5, 4.5, 3))))
    return made


def _grown(level: Level, by: float) -> Level:
    return lambda points: np.asarray(level(points) - by)


def _bumpy(level: Level, bumps: Waves, height: float) -> Level:
    return lambda points: np.asarray(level(points) + height * bumps(points))


def _named(way: tuple[int, ...]) -> str:
    words = (("right", "left"), ("anterior", "posterior"), ("inferior", "superior"))
    return " ".join(pair[step > 0] for step, pair in zip(way, words, strict=True) if step)
