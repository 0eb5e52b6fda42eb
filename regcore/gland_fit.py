"""The most probable rigid transform between two surfaces: its cost, the slope of the cost, and the way down.

Six numbers in float64: the shift of the fixed organ's centre (mm) and the rotation vector about it (radians). The cost
is twice the negative logarithm of their probability: points of either surface lie off the other with a standard
deviation of 2 mm, outlines vary so slowly that a surface counts as 30 independent points, landmarks have 3 mm, and
rotations are small. Points far off count by Huber's function: a vesicle that only one reader drew turns nothing.

Reference: Nocedal and Wright, "Numerical Optimization", 2006, chapter 10 (Levenberg-Marquardt); Huber, "Robust
estimation of a location parameter", 1964.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regcore.gland_surface import GlandSurface, Probe
from regcore.ops.rotation_vector import cross_matrix, left_jacobian, rotation_of

SURFACE_SD_MM = 2.0
SURFACE_POINTS = 30  # independent ones, each way
LANDMARK_SD_MM = 3.0

_HUBER = 1.5  # standard deviations up to which a point counts in full
_LEAST_KNOWN = 0.25  # of the surface: where less is seen, the organ was moved out of sight, which explains nothing
_ENOUGH = 1e-6  # of the cost: the smallest gain worth another iteration
_MOST_DAMPING = 1e4


@dataclass(frozen=True, eq=False)
class State:
    """The cost at six numbers and what the next step needs.

    Attributes:
        numbers: ``(6,)``, shift (mm) and rotation vector (radians).
        cost: twice the negative log probability.
        slope: ``(6,)``, half the derivative of the cost.
        curvature: ``(6, 6)``, half its second derivative (Gauss-Newton).
        misfit: the surfaces' part of the cost, over what is expected of points with the assumed deviation.
        distance_mm: mean distance between the surfaces, both ways.
    """

    numbers: Tensor
    cost: float
    slope: Tensor
    curvature: Tensor
    misfit: float
    distance_mm: float


@dataclass(frozen=True, eq=False)
class GlandFit:
    """Everything that speaks for or against a transform.

    Attributes:
        fixed: the fixed organ.
        moving: the moving organ.
        fixed_landmarks: ``(n, 3)`` mm.
        moving_landmarks: ``(n, 3)`` mm, in the same order.
        rotation_sd: of the rotation about each axis (radians).
    """

    fixed: GlandSurface
    moving: GlandSurface
    fixed_landmarks: Tensor
    moving_landmarks: Tensor
    rotation_sd: float

    def minimise(self, numbers: Tensor, steps: int = 60) -> State:
        """Go down from ``numbers`` ``(6,)`` towards the nearest minimum of the cost, in at most so many steps."""
        here, damping = self.at(numbers), 1e-3
        for _ in range(steps):
            damped = here.curvature + damping * torch.diag(here.curvature.diagonal())
            there = self.at(here.numbers - torch.linalg.solve(damped, here.slope))
            gain = here.cost - there.cost
            if gain > 0:
                here, damping = there, damping / 5
            else:
                damping *= 8
            if 0 < gain < _ENOUGH * here.cost or damping > _MOST_DAMPING:
                break
        return here

    def at(self, numbers: Tensor) -> State:
        """Return the cost and its derivatives at ``numbers`` ``(6,)``."""
        shift, vector = numbers[:3], numbers[3:]
        rotation, turn = rotation_of(vector), left_jacobian(vector)
        centre = torch.as_tensor(self.fixed.centre)
        arms = (self.fixed.points - centre) @ rotation.T
        there = self.moving.probe(arms + centre + shift)
        out = _Surface.of(
            there, torch.cat([there.slope, torch.linalg.cross(arms, there.slope) @ turn], 1), self.fixed.weights
        )
        arms = self.moving.points - centre - shift
        back = self.fixed.probe(arms @ rotation + centre)
        slope = -back.slope @ rotation.T
        home = _Surface.of(back, torch.cat([slope, torch.linalg.cross(arms, slope) @ turn], 1), self.moving.weights)
        cost, gradient, curvature = self._prior(vector)
        for term in (out, home, self._landmarks(shift, rotation, turn)):
            cost, gradient, curvature = cost + term.cost, gradient + term.slope, curvature + term.curvature
        misfit = (out.cost + home.cost) / (2 * SURFACE_POINTS - 6)
        return State(numbers, cost, gradient, curvature, misfit, (out.distance_mm + home.distance_mm) / 2)

    def error_mm(self, state: State) -> float:
        """Return the root mean square error to expect of a point of the fixed surface, if the model holds.

        The curvature gives it; where the surfaces fit worse than assumed, the deviations are taken to be that much
        larger (Birge's ratio).
        """
        rotation, turn = rotation_of(state.numbers[3:]), left_jacobian(state.numbers[3:])
        covariance = torch.linalg.inv(state.curvature) * max(1.0, state.misfit)
        moves = _moves((self.fixed.points - torch.as_tensor(self.fixed.centre)) @ rotation.T, turn)
        squared = torch.einsum("nij,jk,nik->n", moves, covariance, moves)
        return float((squared * self.fixed.weights).sum().sqrt())

    def _prior(self, vector: Tensor) -> tuple[float, Tensor, Tensor]:
        """Return cost, slope and curvature of a rotation; any shift is as likely as any other."""
        precision = torch.diag(torch.tensor([0.0] * 3 + [self.rotation_sd**-2] * 3, dtype=torch.float64))
        full = torch.cat([torch.zeros(3, dtype=torch.float64), vector])
        return float(full @ precision @ full), precision @ full, precision

    def _landmarks(self, shift: Tensor, rotation: Tensor, turn: Tensor) -> _Term:
        arms = (self.fixed_landmarks - torch.as_tensor(self.fixed.centre)) @ rotation.T
        off = (arms + torch.as_tensor(self.fixed.centre) + shift - self.moving_landmarks).flatten() / LANDMARK_SD_MM
        moves = _moves(arms, turn).reshape(-1, 6) / LANDMARK_SD_MM
        return _Term(float(off @ off), moves.T @ off, moves.T @ moves)


@dataclass(frozen=True, eq=False)
class _Term:
    """A part of the cost, with half its derivatives."""

    cost: float
    slope: Tensor
    curvature: Tensor


@dataclass(frozen=True, eq=False)
class _Surface(_Term):
    """What the points of one surface add, and their mean distance to the other."""

    distance_mm: float

    @classmethod
    def of(cls, probe: Probe, by_numbers: Tensor, weights: Tensor) -> _Surface:
        """Sum up; points of which nothing is known count neither way, unless they are nearly all.

        Args:
            probe: of the other surface, at ``n`` points.
            by_numbers: ``(n, 6)``, derivatives of the distances.
            weights: ``(n,)``, shares of the surface.
        """
        share = weights * probe.known
        share = share / share.sum() if share.sum() > _LEAST_KNOWN else weights
        off = (probe.distance / SURFACE_SD_MM).abs()
        far = off > _HUBER
        rho = torch.where(far, 2 * _HUBER * off - _HUBER**2, off.square())
        counted = SURFACE_POINTS * share * torch.where(far, _HUBER / off, 1.0) / SURFACE_SD_MM**2
        return cls(
            SURFACE_POINTS * float(share @ rho),
            by_numbers.T @ (counted * probe.distance),
            by_numbers.T @ (counted[:, None] * by_numbers),
            float(share @ probe.distance.abs()),
        )


def _moves(arms: Tensor, turn: Tensor) -> Tensor:
    """Return how the ends of ``arms`` ``(n, 3)`` move with the six numbers, ``(n, 3, 6)``."""
    identity = torch.eye(3, dtype=torch.float64).expand(len(arms), 3, 3)
    return torch.cat([identity, -cross_matrix(arms) @ turn], dim=2)
