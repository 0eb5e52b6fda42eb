"""Six parameters fitted to the likeness of two volumes, by bounded steps that only ever improve it.

Each step solves the normal equations of the moved volume's slopes. For MIND-SSC that is Gauss-Newton, the slopes of
both descriptors averaged; for mutual information it is the gradient, measured in the same units. A step is at most as
long as a radius that shrinks when it fails.

References: Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using
self-similarities", MICCAI 2013; Viola and Wells, "Alignment by maximization of mutual information", IJCV 24, 1997;
Benhimane and Malis, "Real-time image-based tracking of planes using efficient second-order minimization", IROS 2004.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from regcore.forces.gradient import derivative
from regcore.forces.mind import mind, noise_floor
from regcore.rigid_view import Lattice, View

_STEPS = 60
_SMALLEST = 0.02  # voxels: no shorter steps are tried
_FLOOR = 1e-3  # of the largest diagonal: directions that the volumes leave open stay where they are
_LEAST_KEPT = 0.5  # of the voxels that the start shows
_BINS = 32


class Pose(NamedTuple):
    """One map and what it shows.

    Attributes:
        matrix: ``(4, 4)``, fixed to moving points.
        features: ``(1, C, *shape)``, what is compared.
        seen: ``(*shape)``, where in the region both volumes show something.
    """

    matrix: Tensor
    features: Tensor
    seen: Tensor


class Likeness(ABC):
    """How alike the volumes of a view are.

    Attributes:
        natural: whether the normal equations give the length of a step too, or only its direction.
    """

    natural: bool

    def __init__(self, view: View) -> None:
        self.view = view

    def pose(self, matrix: Tensor) -> Pose:
        """Look through a map ``(4, 4)``."""
        image, seen = self.view.moved(matrix)
        return Pose(matrix, self.describe(image), seen)

    @abstractmethod
    def describe(self, image: Tensor) -> Tensor:
        """Return what is compared of an image ``(1, 1, *shape)``."""

    @abstractmethod
    def value(self, pose: Pose, where: Tensor) -> float:
        """Return the likeness over voxels ``where`` ``(*shape)``; more is better."""

    @abstractmethod
    def lead(self, here: float, away: float) -> float:
        """Return how far a value is ahead of another: 0 not at all, at most 1."""

    @abstractmethod
    def slopes(self, pose: Pose, axis: int) -> Tensor:
        """Return the features' change per voxel along an axis of the tensor, ``(C, *shape)``."""

    @abstractmethod
    def pull(self, pose: Pose) -> Tensor:
        """Return which change of the features makes the volumes more alike, ``(C, *shape)``."""


class MindLikeness(Likeness):
    """Minus the mean squared difference of MIND-SSC descriptors; the moved volume is described anew each time."""

    natural = True

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._floor = noise_floor(view.source)
        self._fixed = mind(view.fixed)

    def describe(self, image: Tensor) -> Tensor:
        """See `Likeness.describe`; 12 channels."""
        return mind(image, self._floor)

    def value(self, pose: Pose, where: Tensor) -> float:
        """See `Likeness.value`; at most 0."""
        return -float((pose.features - self._fixed).square().mean(1)[0][where].mean())

    def lead(self, here: float, away: float) -> float:
        """See `Likeness.lead`: by which share the difference is smaller."""
        return 1 - here / away if away < 0 else 0.0

    def slopes(self, pose: Pose, axis: int) -> Tensor:
        """See `Likeness.slopes`; the mean of both volumes' slopes reaches further than the moving one's alone."""
        return derivative(pose.features + self._fixed, axis)[0] / 2

    def pull(self, pose: Pose) -> Tensor:
        """See `Likeness.pull`."""
        return (self._fixed - pose.features)[0]


class InformationLikeness(Likeness):
    """Mutual information (nats) of a joint histogram of 32 x 32 bins that each voxel fills linearly."""

    natural = False

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._fixed = _shares(view.fixed.flatten())

    def describe(self, image: Tensor) -> Tensor:
        """See `Likeness.describe`: the intensities."""
        return image

    def value(self, pose: Pose, where: Tensor) -> float:
        """See `Likeness.value`; at least 0."""
        joint = self._joint(pose, where)
        return float((joint * (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).clamp_min(1e-12).log()).nansum())

    def lead(self, here: float, away: float) -> float:
        """See `Likeness.lead`: which share of the information is lost."""
        return 1 - away / here if here > 0 else 0.0

    def slopes(self, pose: Pose, axis: int) -> Tensor:
        """See `Likeness.slopes`."""
        return derivative(pose.features, axis)[0]

    def pull(self, pose: Pose) -> Tensor:
        """See `Likeness.pull`: the derivative of the information by each voxel's intensity."""
        joint = self._joint(pose, pose.seen)
        gain = (joint / joint.sum(0).clamp_min(1e-12)).clamp_min(1e-6).log()
        intensity = (pose.features.flatten() * (_BINS - 1)).clamp(0, _BINS - 1)
        low = intensity.floor().clamp_max(_BINS - 2).long()
        rise = (gain[:, 1:] - gain[:, :-1]).T[low]
        return (self._fixed * rise).sum(1).view(pose.features.shape[1:])

    def _joint(self, pose: Pose, where: Tensor) -> Tensor:
        chosen = where.flatten()
        return self._fixed[chosen].T @ _shares(pose.features.flatten()[chosen]) / chosen.sum()


def fit(
    likeness: Likeness,
    matrix: Tensor,
    allowed: Callable[[Tensor], bool],
    check: Callable[[], None],
) -> Tensor:
    """Climb from a map to the nearest one that no small step improves.

    Args:
        likeness: of the volumes on a lattice; steps are at most one voxel of it long.
        matrix: ``(4, 4)`` float64, fixed to moving points.
        allowed: whether a map may be gone to.
        check: called before each look at the volumes.

    Returns:
        ``(4, 4)``; at least half of what ``matrix`` shows of the region is still seen through it.
    """
    lattice = likeness.view.lattice
    longest = radius = lattice.voxel_mm
    now = likeness.pose(matrix)
    enough = _LEAST_KEPT * int(now.seen.sum())
    for _ in range(_STEPS):
        direction = _direction(likeness, now)
        while radius >= _SMALLEST * longest:
            check()
            step, length = _of_length(lattice, direction, radius, likeness.natural)
            then = likeness.pose(now.matrix @ step)
            if allowed(then.matrix) and better(likeness, then, now, enough):
                break
            radius = min(length, radius) / 2
        else:
            return now.matrix
        now, radius = then, min(2 * radius, longest)
        if length < _SMALLEST * longest:
            break
    return now.matrix


def better(likeness: Likeness, then: Pose, now: Pose, enough: float = 1) -> bool:
    """Whether the volumes are more alike on what both poses show: content that leaves must not count as a gain."""
    both = then.seen & now.seen
    return int(both.sum()) >= enough and likeness.value(then, both) > likeness.value(now, both)


def _direction(likeness: Likeness, pose: Pose) -> Tensor:
    """Return six parameters (mm, degrees) that make the volumes more alike, by the normal equations."""
    view = likeness.view
    slopes = torch.stack([likeness.slopes(pose, axis) for axis in (4, 3, 2)]) / view.lattice.voxel_mm
    weight = pose.seen / pose.seen.sum()
    squares = torch.stack([(slopes * slopes[axis]).sum(1) for axis in range(3)]) * weight
    pull = (slopes * likeness.pull(pose)).sum(1) * weight
    moves = _moves(view)
    normal = torch.einsum("aiv,abv,bjv->ij", moves, squares.flatten(2), moves).double().cpu()
    towards = torch.einsum("aiv,av->i", moves, pull.flatten(1)).double().cpu()
    floor = _FLOOR * normal.diagonal().max().clamp_min(1e-12) * torch.eye(6, dtype=torch.float64)
    step = torch.linalg.solve(normal + floor, towards)
    return torch.cat([step[:3], torch.rad2deg(step[3:] / view.lattice.radius_mm)])


def _moves(view: View) -> Tensor:
    """Return how each point moves with three shifts and with turns about x, y, z, ``(3, 6, V)``, all in mm."""
    x, y, z = view.local.flatten(1) / view.lattice.radius_mm
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack(
        [
            torch.stack([one, zero, zero, zero, z, -y]),
            torch.stack([zero, one, zero, -z, zero, x]),
            torch.stack([zero, zero, one, y, -x, zero]),
        ]
    )


def _of_length(lattice: Lattice, parameters: Tensor, radius: float, natural: bool) -> tuple[Tensor, float]:
    """Return the map of a step of at most ``radius`` mm, of just that unless ``natural``, and its length."""
    length = lattice.apart(lattice.turned(parameters))
    if length > radius or (length > 0 and not natural):
        # Turns are not linear: a long step is first brought near, where they nearly are.
        parameters, length = parameters * (radius / length), radius
    return lattice.turned(parameters), length


def _shares(intensity: Tensor) -> Tensor:
    """Return how much of each of the bins over [0, 1] voxels ``(V,)`` fill, ``(V, 32)``."""
    places = torch.arange(_BINS, dtype=intensity.dtype, device=intensity.device)
    return (1 - (intensity[:, None] * (_BINS - 1) - places).abs()).clamp_min(0)
