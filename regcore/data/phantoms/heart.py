"""Two ventricles as formulas, and a beat of them that is known in closed form and never folds.

Points are ``(3, *any)`` mm in the short-axis frame: right and down in the displayed slice, then from apex to base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regcore.data.phantoms.deformation import Pushes
from regcore.data.phantoms.shapes import Points, Waves
from regcore.grid import Matrix

_BLUR = 25.0  # mm^2: how gradually the squared radius changes its rate at a border
_HALVINGS, _NEWTON = 8, 5  # steps; after the first ones the bounds are closer than `_BLUR`
RIGHT_WALL = 3.5  # mm, of the free wall
_FADE = 16.0  # mm outside the heart, over which the motion fades


@dataclass(frozen=True, eq=False)
class Heart:
    """A left ventricle with a right one round its septum, at end diastole, and how far they contract.

    In each slice, positions are an angle (0 towards the right ventricle) and a radius in mm about the left ventricle's
    axis, after an area-preserving stretch that turns its ellipses into circles.

    Attributes:
        centre: of the axis at height 0 in the stack, ``(2,)`` mm.
        tilt: how far the axis drifts per mm of height, ``(2,)``.
        unstretch: ``(2, 2)``, determinant 1, in-plane offsets to those of the circles.
        apex: height of the epicardial tip (mm).
        length: from the tip to where the radii are largest (mm).
        cavity: largest endocardial radius (mm).
        wall: thickness of the myocardium (mm).
        right_depth: of the right ventricle, septum to free wall (mm).
        right_angle: half of the angle it embraces (radians).
        right_lean: asymmetry of its outline, -1 to 1.
        roughness: of the borders, about unit variance.
        left_emptied: ejected part of the left cavity's area.
        right_emptied: ejected part of the right cavity's area.
        twist: rotation at base and apex (radians).
        drift: bulk motion of the heart.
    """

    centre: Matrix
    tilt: Matrix
    unstretch: Matrix
    apex: float
    length: float
    cavity: float
    wall: float
    right_depth: float
    right_angle: float
    right_lean: float
    roughness: Waves
    left_emptied: float
    right_emptied: float
    twist: tuple[float, float]
    drift: Pushes

    @classmethod
    def random(cls, rng: np.random.Generator, apex: float) -> Heart:
        """Draw a healthy adult heart whose tip is at height ``apex`` (mm)."""
        towards_right = np.deg2rad(rng.uniform(172, 212))
        cos, sin, stretch = np.cos(towards_right), np.sin(towards_right), rng.uniform(0.95, 1.08)
        centre = np.array([18.0, 4.0]) + rng.uniform(-6, 6, 2)
        slide = rng.uniform(1.5, 3.5) * np.array([cos, sin]) + rng.normal(0, 0.6, 2)
        return cls(
            centre=centre,
            tilt=rng.uniform(-0.08, 0.08, 2),
            unstretch=np.diag([stretch, 1 / stretch]) @ np.array([[cos, sin], [-sin, cos]]),
            apex=apex,
            length=rng.uniform(62, 74),
            cavity=rng.uniform(23, 28),
            wall=rng.uniform(7.5, 10.5),
            right_depth=rng.uniform(22, 30),
            right_angle=np.deg2rad(rng.uniform(76, 90)),
            right_lean=rng.uniform(0.1, 0.5),
            roughness=Waves.random(rng, 10, 20.0, 50.0),
            left_emptied=rng.uniform(0.56, 0.66),
            right_emptied=rng.uniform(0.42, 0.52),
            twist=(np.deg2rad(rng.uniform(2, 5)), np.deg2rad(rng.uniform(-11, -6))),
            drift=Pushes(np.array([[*centre, 20.0]]), np.array([55.0]), np.array([[*slide, 0.0]])),
        )

    def contracted(self, points: Points, phase: float) -> NDArray[np.float64]:
        """Return where tissue at ``points`` at end diastole is at ``phase``: 0 end diastole, 1 end systole.

        In the plane of the stretched slice, ``r^2 -> r^2 - phase * loss(r^2, angle)`` and then a rotation by an angle
        that depends on the new radius only: the determinant is ``1 - phase * d(loss)/d(r^2)``, which is 1 in the
        myocardium, ``1 - emptied`` in the cavities, more than 1 where the motion fades outside, and never 0. The bulk
        drift that follows is a push too wide and short to fold.
        """
        radius, angle = self.polar(points)
        squared = radius**2 - phase * self._loss(radius**2, self._limits(angle, points[2]))[0]
        radius = np.sqrt(np.maximum(squared, 0))
        turned = angle + phase * self._rotation(radius, points[2])
        return self._drifted(phase)(self._cartesian(radius, turned, points[2]))

    def relaxed(self, points: Points, phase: float) -> NDArray[np.float64]:
        """Return the end-diastolic position of what is at ``points`` at ``phase``, the inverse of `contracted`."""
        flat = np.array(points, dtype=np.float64).reshape(3, -1)
        if phase == 0:
            return flat.reshape(points.shape)
        before = self._drifted(phase).inverse_at(flat, iterations=20)
        radius, angle = self.polar(before)
        angle -= phase * self._rotation(radius, before[2])
        squared = self._before_loss(radius**2, self._limits(angle, before[2]), phase)
        return self._cartesian(np.sqrt(squared), angle, before[2]).reshape(points.shape)

    def polar(self, points: Points) -> tuple[NDArray, NDArray]:
        """Return radius (mm) and angle (-pi to pi) of ``points``, each ``(*any)``."""
        across, down = (points[a] - self.centre[a] - self.tilt[a] * points[2] for a in (0, 1))
        (a, b), (c, d) = self.unstretch.astype(points.dtype)
        along, beside = a * across + b * down, c * across + d * down
        return np.hypot(along, beside), np.arctan2(beside, along)

    def axis_at(self, height: float) -> Matrix:
        """Return the point of the left ventricle's axis at ``height`` (mm), ``(3,)``."""
        return np.array([*(self.centre + self.tilt * height), height])

    def direction(self, angle: float) -> Matrix:
        """Return where ``angle`` points in the slice, ``(3,)`` mm."""
        return np.array([*np.linalg.solve(self.unstretch, [np.cos(angle), np.sin(angle)]), 0.0])

    def endocardium(self, height: NDArray) -> NDArray:
        """Return the left cavity's radius at ``height`` (mm); 0 below its tip."""
        return self.cavity * _taper((height - self.apex - 0.9 * self.wall) / (self.length - 0.9 * self.wall))

    def epicardium(self, height: NDArray) -> NDArray:
        """Return the left ventricle's outer radius at ``height`` (mm); 0 below its tip."""
        return (self.cavity + self.wall) * _taper((height - self.apex) / self.length)

    def right_border(self, angle: NDArray, height: NDArray) -> NDArray:
        """Return the radius of the right cavity's free wall (mm); `epicardium` where there is none."""
        share = _taper((height - self.apex - 0.16 * self.length) / (0.75 * self.length))
        part = np.clip(angle / (self.right_angle * np.maximum(share, 0.3) ** 0.3), -1, 1)
        outline = (1 - part**2) ** 1.3 * (1 - self.right_lean * part)
        return np.asarray(self.epicardium(height) + self.right_depth * share * outline)

    def _limits(self, angle: NDArray, height: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Return the radii at which the loss changes (mm): endocardium, epicardium, right free wall."""
        return self.endocardium(height), self.epicardium(height), self.right_border(angle, height)

    def _loss(self, squared: NDArray, limits: tuple[NDArray, NDArray, NDArray]) -> tuple[NDArray, NDArray]:
        """Return by how much the squared radius shrinks until end systole, and its derivative."""
        past = [_passed(squared, limit**2) for limit in limits]
        left, right = self.left_emptied, self.right_emptied
        loss = left * (squared - past[0][0]) + right * (past[1][0] - past[2][0])
        rate = left * (1 - past[0][1]) + right * (past[1][1] - past[2][1])
        radius = np.maximum(np.sqrt(squared), 1e-6)
        beyond = np.maximum(radius - limits[2] - RIGHT_WALL, 0) / _FADE
        kept = np.exp(-(beyond**3))
        return loss * kept, (rate - loss * 1.5 * beyond**2 / (_FADE * radius)) * kept

    def _before_loss(self, left: NDArray, limits: tuple[NDArray, NDArray, NDArray], phase: float) -> NDArray:
        """Return the squared radius of which ``left`` is left, by halving its bounds and then by Newton's method."""
        inner, outer, free = (limit**2 for limit in limits)
        low, high = left, left + self.left_emptied * inner + self.right_emptied * (free - outer) + _BLUR
        squared = (low + high) / 2
        for step in range(_HALVINGS + _NEWTON):
            loss, rate = self._loss(squared, limits)
            excess = squared - phase * loss - left
            low, high = np.where(excess < 0, squared, low), np.where(excess < 0, high, squared)
            ahead = (low + high) / 2 if step < _HALVINGS else squared - excess / (1 - phase * rate)
            squared = np.clip(ahead, low, high)
        return np.asarray(squared)

    def _rotation(self, radius: NDArray, height: NDArray) -> NDArray:
        base, apex = self.twist
        up = np.clip((height - self.apex) / self.length, 0, 1)
        outside = np.maximum(radius - self.epicardium(height), 0) / _FADE
        return np.asarray((apex + (base - apex) * up) * np.exp(-(outside**3)))

    def _cartesian(self, radius: NDArray, angle: NDArray, height: NDArray) -> NDArray[np.float64]:
        (a, b), (c, d) = np.linalg.inv(self.unstretch)
        along, beside = radius * np.cos(angle), radius * np.sin(angle)
        offsets = (a * along + b * beside, c * along + d * beside)
        plane = [self.centre[n] + self.tilt[n] * height + offset for n, offset in enumerate(offsets)]
        return np.stack([*plane, height])

    def _drifted(self, phase: float) -> Pushes:
        return Pushes(self.drift.centres, self.drift.widths, phase * self.drift.vectors)


def _taper(share: NDArray) -> NDArray:
    """Return the radius at a part of the height, both 0 at the tip and 1 at the base: a blunt paraboloid."""
    return np.asarray((1 - (1 - np.clip(share, 0, 1)) ** 2.2) ** 0.6)


def _passed(squared: NDArray, border: NDArray) -> tuple[NDArray, NDArray]:
    """Return a soft ``max(squared - border, 0)`` that is 0 at the axis, and its derivative."""
    shift, start = (squared - border) / _BLUR, border / _BLUR
    value = np.maximum(shift, 0) + np.log1p(np.exp(-np.abs(shift))) - np.log1p(np.exp(-start))
    return _BLUR * value, 1 / (1 + np.exp(-np.clip(shift, -60, 60)))
