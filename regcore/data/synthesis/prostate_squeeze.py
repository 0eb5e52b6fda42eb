"""How a probe changes the shape of a prostate, with no rigid motion left in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from regcore.data.synthesis.noise import uniform
from regcore.procrustes import landmark_transform

_WAVES = 5
_STEPS = 60  # of the inverse; the slope of the change stays below 0.9, so it converges


@dataclass(frozen=True)
class Squeeze:
    """A smooth change of shape, as a map from squeezed points to where they were.

    Attributes:
        linear: ``(3, 3)``, of the stretch.
        push: ``(3, W)`` mm, of each wave.
        pitch: ``(W, 3)``, radians per mm.
        phase: ``(W,)``.
        rigid: ``(4, 4)``, what the change alone would move the gland by.
    """

    linear: Tensor
    push: Tensor
    pitch: Tensor
    phase: Tensor
    rigid: Tensor

    def back(self, points: Tensor) -> Tensor:
        """Return where squeezed points ``(3, *shape)`` were, mm."""
        flat = self.rigid[:3, :3].to(points) @ points.flatten(1) + self.rigid[:3, 3:].to(points)
        return self._change(flat).view(points.shape)

    def forth(self, points: Tensor) -> Tensor:
        """Return where points ``(3, P)`` go, mm: the inverse of `back`, by repetition."""
        found = self._undone(points)
        return self.rigid[:3, :3].to(points).T @ (found - self.rigid[:3, 3:].to(points))

    def _change(self, points: Tensor) -> Tensor:
        waves = torch.sin(self.pitch.to(points) @ points + self.phase.to(points)[:, None])
        return points + self.linear.to(points) @ points + self.push.to(points) @ waves

    def _undone(self, points: Tensor) -> Tensor:
        found = points
        for _ in range(_STEPS):
            found = found + points - self._change(found)
        return found


def random_squeeze(surface: Tensor, strength: float, random: torch.Generator) -> Squeeze:
    """Return a change of shape whose best rigid description, over the gland's surface, is to stay where one is.

    The probe flattens the gland from behind, which makes it wider, and the rest is five long waves.

    Args:
        surface: ``(3, P)``, of the gland (mm).
        strength: 1: flattened by up to a tenth, waves of 0.4 mm; 0: nothing changes, 1 is the most.
        random: of the case.
    """
    flat = strength * uniform(0.0, 0.1, random)
    linear = torch.diag(torch.tensor([-flat / 2, flat, -flat / 2], dtype=torch.float64))
    ways = torch.randn(_WAVES, 3, generator=random, device=random.device).cpu().double()
    lengths = torch.tensor([uniform(45, 90, random) for _ in range(_WAVES)], dtype=torch.float64)
    pitch = 2 * math.pi * ways / ways.norm(dim=1, keepdim=True).clamp_min(1e-6) / lengths[:, None]
    phase = torch.tensor([uniform(0, 2 * math.pi, random) for _ in range(_WAVES)], dtype=torch.float64)
    normal = torch.randn(3, _WAVES, generator=random, device=random.device).cpu().double()
    push = 0.4 * strength * normal.clamp(-1.5, 1.5)
    raw = Squeeze(linear, push, pitch, phase, torch.eye(4, dtype=torch.float64))
    points = surface.cpu().double()
    # If G is the best rigid map of x to F(x), then that of x to G^-1 F(x) is the identity.
    rigid = landmark_transform(points.T.numpy(), raw.forth(points).T.numpy()).homogeneous
    return Squeeze(linear, push, pitch, phase, torch.as_tensor(rigid))
