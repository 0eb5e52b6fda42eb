"""A diffeomorphism in closed form: Gaussian pushes, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regcore.grid import Matrix

_LONGEST_STEP = 0.9  # of width * sqrt(e), from where on one push folds


@dataclass(frozen=True, eq=False)
class Pushes:
    """``x -> x + a exp(-|x - c|^2 / (2 s^2))`` for each push in turn.

    Each is a diffeomorphism of space as long as ``|a| < s sqrt(e)``, and so is their composition, which can be
    evaluated at any point without integrating anything.

    Attributes:
        centres: ``(n, 3)`` mm.
        widths: ``(n,)`` mm.
        vectors: ``(n, 3)`` mm.

    Raises:
        ValueError: a push that folds.
    """

    centres: Matrix
    widths: Matrix
    vectors: Matrix

    def __post_init__(self) -> None:
        limit = _LONGEST_STEP * np.sqrt(np.e) * self.widths
        if (np.linalg.norm(self.vectors, axis=1) > limit).any():
            raise ValueError("vectors: expected pushes shorter than their width times sqrt(e); longer ones fold")

    def __call__(self, points: Matrix) -> NDArray[np.float64]:
        """Map points ``(3, *any)`` (mm)."""
        moved = np.array(points, dtype=np.float64).reshape(3, -1)
        for centre, width, vector in zip(self.centres, self.widths, self.vectors, strict=True):
            offset = moved - centre[:, None]
            weight = np.exp(np.einsum("in,in->n", offset, offset) / (-2 * width**2))
            moved += vector[:, None] * weight
        return moved.reshape(points.shape)

    def inverse_at(self, points: Matrix, iterations: int = 200) -> NDArray[np.float64]:
        """Return which points ``(3, n)`` are mapped to ``points`` (mm), by a damped fixed point."""
        there = np.array(points, dtype=np.float64)
        for _ in range(iterations):
            there += 0.7 * (points - self(there))
        return there

    def scaled_to(self, mean: float, points: Matrix) -> Pushes:
        """Return pushes stretched so that ``points`` (3, n) move by ``mean`` mm on average."""
        scaled = self
        for _ in range(6):
            moved = np.linalg.norm(scaled(points) - points, axis=0).mean()
            scaled = replace(scaled, vectors=scaled.vectors * (mean / moved))
        return scaled
