"""What a short-axis slice shows: the ventricles and what lies around them.

Points are in the short-axis frame of `regcore.data.phantoms.heart`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from regcore.data.phantoms.heart import RIGHT_WALL, Heart
from regcore.data.phantoms.shapes import Ellipsoid, Level, Part, Points, Waves, surface_point
from regcore.grid import Matrix

# Balanced steady-state free precession: fluid and fat bright, muscle dark, air black.
CONTRAST = {
    "air": 0.01,
    "lung": 0.06,
    "vessel": 0.40,
    "skin": 0.78,
    "muscle": 0.24,
    "spine": 0.36,
    "fat": 0.70,
    "liver": 0.40,
    "liver vessel": 0.58,
    "stomach": 0.22,
    "contents": 0.50,
    "blood": 0.88,
    "right blood": 0.82,
    "right wall": 0.32,
    "trabeculae": 0.55,
    "myocardium": 0.25,
    "papillary": 0.30,
}
_WALLS = {"septal": 0, "anterior": 90, "lateral": 180, "inferior": -90}  # degrees from the right ventricle
_RIM = 1.0  # mm: a right ventricle thinner than that is none


def chest(rng: np.random.Generator, heart: Heart) -> list[Part]:
    """Return the parts from back to front. Labels: 1 right cavity, 2 myocardium, 3 left cavity."""

    def shape(centre: tuple[float, ...], radii: tuple[float, ...], turn: float = 0.0) -> Ellipsoid:
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        axes = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        return Ellipsoid(np.asarray(centre) + rng.normal(0, 3, 3), np.asarray(radii) * rng.uniform(0.95, 1.05, 3), axes)

    body, folds = shape((44, 54, 0), (160, 158, 400), -8), Waves.random(rng, 8, 25.0, 60.0)
    skin, muscle = rng.uniform(7, 18), rng.uniform(9, 13)
    wall = _uneven(_grown(body, -skin), folds, 1.0)
    inside = _uneven(_grown(body, -skin - muscle), folds, 1.5)
    liver, stomach = shape((-38, 84, -30), (100, 44, 100), -4), shape((58, 98, -40), (44, 50, 90))
    aorta, pad = shape((66, 50, 0), (10.5, 10.5, 300)), shape((-40, -40, 30), (50, 24, 46), -45)
    return [
        Part("air", lambda points: np.full(points.shape[1:], -50, dtype=points.dtype)),
        Part("skin", body),
        Part("muscle", wall),
        *_ribs(rng, body, skin + muscle / 2),
        Part("lung", inside),
        *_twigs(rng, "vessel", 40, (60, -20, 25), (25, 35, 25)),
        Part("spine", _both(shape((95, 84, 0), (25, 22, 300)), inside)),
        Part("fat", _both(_uneven(pad, folds, 3.0), inside)),
        Part("fat", _both(_fat(rng, heart), inside)),
        Part("liver", _both(liver, inside)),
        *_twigs(rng, "liver vessel", 12, (-50, 76, 0), (28, 12, 35)),
        Part("stomach", _both(stomach, inside)),
        Part("contents", _both(_grown(stomach, -4), inside)),
        Part("muscle", _grown(aorta, 1.5)),
        Part("blood", aorta),
        *_ventricles(rng, heart),
    ]


def borders(heart: Heart, heights: Mapping[str, float]) -> dict[str, Matrix]:
    """Return named points on the ventricles' borders at end diastole, ``(3,)`` mm each, at the named heights (mm)."""
    named = {}
    for where, height in heights.items():
        axis = heart.axis_at(height)
        for name, degrees in _WALLS.items():
            way = heart.direction(np.deg2rad(degrees)).tolist()
            named[f"{where} endocardium {name}"] = surface_point(_left_cavity(heart), axis, way)
            named[f"{where} epicardium {name}"] = surface_point(_left_ventricle(heart), axis, way)
        named[f"{where} right free wall"] = surface_point(_right_ventricle(heart), axis, heart.direction(0.0).tolist())
    return named


def _ventricles(rng: np.random.Generator, heart: Heart) -> list[Part]:
    left, cavity, right = _left_ventricle(heart), _left_cavity(heart), _right_ventricle(heart)
    right_cavity = _both(right, lambda points: -left(points))
    return [
        Part("right wall", _right_ventricle(heart, RIGHT_WALL), 0),
        Part("right blood", right_cavity, 1),
        Part("trabeculae", _trabeculae(rng, right_cavity, 7.0)),
        Part("myocardium", left, 2),
        Part("blood", cavity, 3),
        Part("trabeculae", _trabeculae(rng, cavity, 3.5)),
        *_papillaries(rng, heart, cavity),
    ]


def _left_cavity(heart: Heart) -> Level:
    def level(points: Points) -> NDArray:
        radius = heart.endocardium(points[2])
        return np.asarray(heart.polar(points)[0] - radius * (1 + 0.02 * heart.roughness(points)))

    return level


def _left_ventricle(heart: Heart) -> Level:
    def level(points: Points) -> NDArray:
        radius = heart.epicardium(points[2])
        return np.asarray(heart.polar(points)[0] - radius * (1 + 0.012 * heart.roughness(points)))

    return level


def _right_ventricle(heart: Heart, wall: float = 0.0) -> Level:
    """Return both ventricles' common outline, ``wall`` mm outside the right cavity; nothing where there is none."""
    left = _left_ventricle(heart)

    def level(points: Points) -> NDArray:
        angle = heart.polar(points)[1]
        depth = heart.right_border(angle, points[2]) - heart.epicardium(points[2])
        grown = depth * (1 + 0.03 * heart.roughness(points)) + wall * np.minimum(depth / 5, 1)
        return np.asarray(left(points) - grown + 3 * np.exp(-depth / _RIM))

    return level


def _fat(rng: np.random.Generator, heart: Heart) -> Level:
    """Return the fat round the heart: thin beside the lung, thick before the right ventricle and in the grooves."""
    lumps, outline = Waves.random(rng, 8, 30.0, 80.0), _right_ventricle(heart, RIGHT_WALL)

    def level(points: Points) -> NDArray:
        angle = heart.polar(points)[1]
        grooves = np.exp(-(((np.abs(angle) - heart.right_angle) / 0.35) ** 2))
        before = np.exp(-((angle / heart.right_angle) ** 4))
        above = np.clip((points[2] - heart.apex) / 15, 0, 1)
        return np.asarray(outline(points) - above * (1.5 + 2 * lumps(points) + 5 * grooves + 5 * before))

    return level


def _trabeculae(rng: np.random.Generator, cavity: Level, reach: float) -> Level:
    """Return strands of muscle within ``reach`` mm of a cavity's border."""
    strands = Waves.random(rng, 14, 5.0, 12.0)
    return lambda points: np.maximum(np.abs(cavity(points) + reach / 2) - reach / 2, 0.6 - 1.5 * strands(points))


def _papillaries(rng: np.random.Generator, heart: Heart, cavity: Level) -> list[Part]:
    made = []
    for degrees in (128, -128):
        height = heart.apex + heart.length * rng.uniform(0.42, 0.52)
        way = heart.direction(np.deg2rad(degrees + rng.normal(0, 8)))
        centre = heart.axis_at(height) + way * heart.cavity * rng.uniform(0.55, 0.68)
        thickness = rng.uniform(3.8, 5.4, 2)
        made.append(Part("papillary", _both(Ellipsoid(centre, np.array([*thickness, 0.3 * heart.length])), cavity)))
    return made


def _twigs(
    rng: np.random.Generator, tissue: str, count: int, centre: Sequence[float], spread: Sequence[float]
) -> list[Part]:
    made = []
    for _ in range(count):
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        radii = np.array([*rng.uniform(1.2, 2.8, 2), rng.uniform(6, 16)])
        made.append(Part(tissue, Ellipsoid(rng.normal(centre, spread), radii, axes)))
    return made


def _ribs(rng: np.random.Generator, body: Ellipsoid, depth: float) -> list[Part]:
    """Return ribs in the chest wall, ``depth`` mm below the skin, and the sternum where the image's corner is."""
    made = []
    for degrees in np.arange(150, 300, 17) + rng.uniform(-8, 8):
        way = body.axes @ [np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees)), 0]
        centre = surface_point(_grown(body, -depth), body.centre, way.tolist(), reach=300)
        axes = np.stack([way, np.cross([0, 0, 1], way), [0, 0, 1]], axis=1)
        centre = centre + np.array([0, 0, rng.uniform(-30, 30)])
        made.append(Part("spine", Ellipsoid(centre, np.array([3.2, rng.uniform(5, 9), rng.uniform(15, 30)]), axes)))
    return made


def _uneven(level: Level, folds: Waves, height: float) -> Level:
    return lambda points: np.asarray(level(points) + height * folds(points))


def _grown(level: Level, by: float) -> Level:
    return lambda points: np.asarray(level(points) - by)


def _both(one: Level, other: Level) -> Level:
    return lambda points: np.maximum(one(points), other(points))
