"""Training samples for rigid networks: a fresh anatomy, a fresh crop and a fresh misalignment every time.

Sixteen cases stretch far when the geometry is drawn anew: a sample sees its case mirrored, tilted, scaled and slightly
bent, fixed and moving volume alike, so the true rigid transform between them stays known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.data.misalignment import ROTATION_DEG, TRANSLATION_MM, misalign
from regcore.data.rigid_cases import RigidCase
from regcore.models.base import FixedInput
from regcore.ops.rigid import rigid_inverse, rigid_matrix
from regcore.ops.sampling import sample

_SURFACE_POINTS = 200
_BEND_KNOTS = 5  # per axis, over the crop and half as much around it
_BEND_REACH = 1.5


@dataclass(frozen=True)
class Variety:
    """How much the geometry of a sample may differ from its case, and how the start is wrong.

    Attributes:
        enlarge: range of the crop's size, in gland boxes.
        offset_mm: deviation of the crop's centre from the gland's.
        tilt_deg: deviation of the crop's axes from the image's.
        scale: greatest relative change of the anatomy's size along each axis.
        bend_mm: deviation of smooth displacements, the same in both volumes.
        bend_apart_mm: the same in the fixed volume alone: what no rigid transform explains.
        mirror: left and right may change places.
        field_of_view_mm: most that is cut from each side of the moving volume.
        translation_mm: share of shifts in the wrong start, see `misalign`; never 0 for both.
        rotation_deg: share of rotations in it, likewise.
    """

    enlarge: tuple[float, float] = (1.45, 1.75)
    offset_mm: float = 2.0
    tilt_deg: float = 8.0
    scale: float = 0.15
    bend_mm: float = 2.0
    bend_apart_mm: float = 0.7
    mirror: bool = True
    field_of_view_mm: float = 6.0
    translation_mm: float = TRANSLATION_MM
    rotation_deg: float = ROTATION_DEG


PLAIN = Variety((1.6, 1.6), 0.0, 0.0, 0.0, 0.0, 0.0, False, 0.0)


class Batch(NamedTuple):
    """What a rigid network is trained with.

    Attributes:
        fixed: ``(N, 1, *size)``, [0, 1].
        moving: ``(N, 1, *size)``, [0, 1], as the wrong start shows it in the crop.
        side_mm: ``(N, 3)``.
        residual: ``(N, 4, 4)``: takes the moving content, as it lies, onto the fixed one; about the crop's centre.
        surface: ``(N, P, 3)``: the gland's surface relative to the crop's centre (mm).
        start_sre: ``(N,)`` mm.
    """

    fixed: Tensor
    moving: Tensor
    side_mm: Tensor
    residual: Tensor
    surface: Tensor
    start_sre: Tensor


class RigidSampler:
    """Draws batches from cases.

    Args:
        cases: what to draw from.
        size: sides (z, y, x) of the crop.
        fixed_input: the image or the gland.
        sre_mm: range of the start's surface registration error.
        variety: see `Variety`.
        seed: of the random numbers.

    Raises:
        ValueError: no cases, or a range of errors that is none.
    """

    def __init__(
        self,
        cases: Sequence[RigidCase],
        size: tuple[int, int, int],
        fixed_input: FixedInput,
        sre_mm: tuple[float, float],
        variety: Variety = PLAIN,
        seed: int = 0,
    ) -> None:
        if not cases:
            raise ValueError("cases: expected at least one case to draw samples from, got none")
        if not 0 <= sre_mm[0] <= sre_mm[1]:
            raise ValueError(f"sre_mm: expected a range such as (0, 20) mm, got {sre_mm}")
        self.cases, self.size, self.fixed_input = list(cases), size, fixed_input
        self.sre_mm, self.variety = sre_mm, variety
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> Batch:
        """Return ``count`` samples of randomly chosen cases."""
        chosen = torch.randint(len(self.cases), (count,), generator=self.generator).tolist()
        return self.draw_from([self.cases[i] for i in chosen])

    def draw_from(self, cases: Sequence[RigidCase]) -> Batch:
        """Return one sample of each of ``cases``."""
        low, high = self.sre_mm
        wanted = low + (high - low) * self._uniform(len(cases))
        placed = [self._place(case) for case in cases]
        surface = torch.stack([place.surface for place in placed])
        share = {"translation_mm": self.variety.translation_mm, "rotation_deg": self.variety.rotation_deg}
        start = misalign(surface, wanted, self.generator, **share)
        rows = [self._crops(case, place, wrong) for case, place, wrong in zip(cases, placed, start.matrix, strict=True)]
        return Batch(
            torch.stack([fixed for fixed, _ in rows]),
            torch.stack([moving for _, moving in rows]),
            torch.stack([place.side_mm for place in placed]).float(),
            rigid_inverse(start.matrix).float(),
            surface.float(),
            start.sre.float(),
        )

    def _place(self, case: RigidCase) -> _Place:
        """Draw a frame on the gland of ``case`` and the crop around it."""
        variety = self.variety
        points = torch.as_tensor(case.surface)
        points = points[torch.randint(len(points), (_SURFACE_POINTS,), generator=self.generator)]
        linear = rigid_matrix(torch.cat([torch.zeros(3), variety.tilt_deg * self._normal(3)])[None].double())[0, :3, :3]
        stretch = 1 + variety.scale * (2 * self._uniform(3) - 1).double()
        if variety.mirror and float(self._uniform(1)) < 0.5:
            stretch[0] = -stretch[0]
        linear = torch.as_tensor(case.fixed.grid.axes) @ linear * stretch
        back = torch.linalg.inv(linear)
        whole = torch.as_tensor(case.surface) @ back.T
        low, high = whole.amin(dim=0), whole.amax(dim=0)
        enlarge = self._between(*variety.enlarge) * (1 + 0.05 * bool(variety.offset_mm) * (2 * self._uniform(3) - 1))
        side = (high - low + torch.as_tensor(case.fixed.grid.spacing)) * enlarge
        centre = (low + high) / 2 + variety.offset_mm * self._normal(3)
        frame = torch.eye(4, dtype=torch.float64)
        frame[:3, :3], frame[:3, 3] = linear, linear @ centre
        return _Place(frame, side, points @ back.T - centre)

    def _crops(self, case: RigidCase, place: _Place, wrong: Tensor) -> tuple[Tensor, Tensor]:
        lattice = _lattice(self.size, place.side_mm)
        together, apart = self._bend(self.variety.bend_mm), self._bend(self.variety.bend_apart_mm)
        reach = _BEND_REACH * place.side_mm / 2
        own = _bent(_bent(lattice, apart, reach), together, reach)
        seen = case.gland if self.fixed_input == "label" else case.fixed
        fixed = _look(seen.tensor, torch.as_tensor(seen.grid.world_to_index) @ place.frame, own)
        # The start sends a fixed point f to where the true transform would send P^-1 f.
        back = rigid_inverse(wrong[None])[0]
        there = lattice @ back[:3, :3].T + back[:3, 3]
        to_index = torch.as_tensor(case.moving.grid.world_to_index) @ case.to_moving @ place.frame
        moving = _look(self._cut(case.moving.tensor, case), to_index, _bent(there, together, reach))
        return fixed.view(1, *self.size), moving.view(1, *self.size)

    def _bend(self, deviation_mm: float) -> Tensor:
        return deviation_mm * torch.randn(1, 3, *[_BEND_KNOTS] * 3, generator=self.generator)

    def _cut(self, data: Tensor, case: RigidCase) -> Tensor:
        """Blank the outermost slices of the moving volume, a random number at each of the six sides."""
        most = self.variety.field_of_view_mm
        if not most or float(self._uniform(1)) < 0.5:
            return data
        cut = data.clone()
        for axis, spacing in zip((4, 3, 2), case.moving.grid.spacing, strict=True):
            low, high = (self._uniform(2) * most / spacing).long().tolist()
            cut.narrow(axis, 0, low).zero_()
            cut.narrow(axis, cut.shape[axis] - high, high).zero_()
        return cut

    def _between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._uniform(1))

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self.generator)

    def _normal(self, count: int) -> Tensor:
        return torch.randn(count, generator=self.generator).clamp_(-2, 2)


class _Place(NamedTuple):
    """A frame in the fixed world (``frame`` maps it there), the crop's sides, the surface relative to its centre."""

    frame: Tensor
    side_mm: Tensor
    surface: Tensor


def _lattice(size: tuple[int, int, int], side_mm: Tensor) -> Tensor:
    """Return the crop's voxel positions relative to its centre, ``(V, 3)``, x, y, z."""
    axes = [torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in size]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).reshape(-1, 3)
    return index * (side_mm / torch.tensor(size[::-1]))


def _bent(points: Tensor, knots: Tensor, reach: Tensor) -> Tensor:
    """Add a smooth displacement given at knots that span ``[-reach, reach]``."""
    where = (points / reach).float().view(1, 1, 1, -1, 3)
    return points + F.grid_sample(knots, where, padding_mode="border", align_corners=True).view(3, -1).T


def _look(data: Tensor, to_index: Tensor, points: Tensor) -> Tensor:
    """Sample a volume ``(1, 1, *shape)`` at points ``(V, 3)`` of a frame that ``to_index`` maps to its indices."""
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    return sample(data, index.T.flip(0).float().view(1, 3, 1, 1, -1))
