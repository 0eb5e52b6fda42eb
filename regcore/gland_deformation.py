"""A smooth deformation on top of a rigid alignment, from the outlines of an organ alone.

The displacement is a Gaussian process: 3 mm along each axis, alike over about a centimetre, and exactly 0 farther than
40 mm from the outlines. Each outline says, along its normal, how far it lies off the other, with the standard deviation
of `regcore.gland_fit`; the most probable displacement follows from one linear system. Noise in the outlines is thus not
carried into the organ, and the outlines do not quite meet.

What it is worth: over 20 pairs of prostate outlines Dice rose from 0.85 to 0.93; the error at landmarks inside 15 of
them stayed what it was (3.3 and 3.2 mm). It makes outlines agree; it does not locate a target better.

Reference: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 2; Wendland, "Piecewise
polynomial, positive definite and compactly supported radial functions of minimal degree", 1995.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from regcore.field import DisplacementField
from regcore.gland_fit import SURFACE_POINTS, SURFACE_SD_MM
from regcore.gland_surface import GlandSurface
from regcore.grid import Grid
from regcore.image import Image
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, slabs

_SD_MM = 3.0
_REACH_MM = 40.0
_PATCH_MM = 5.0  # the outlines within a box of this side say one thing
_ROUNDS = 3  # the distance maps bend: the system is set up anew at what was found
_SPACING_MM = 4.0  # of the field, which is far smoother
_LEAST_VOLUME = 0.3  # a voxel may shrink to this part


class _Pulls(NamedTuple):
    """The displacement at x: the sum of the vectors ``(n, 3)``, weighted by the kernel of x and the points ``(n, 3)``.

    Attributes:
        points: where the outlines say something (mm).
        vectors: mm.
    """

    points: Tensor
    vectors: Tensor

    def at(self, places: Tensor) -> Tensor:
        """Return the displacement at ``(m, 3)``."""
        return _kernel(places, self.points) @ self.vectors


def deform_glands(fixed_gland: Image, moving_gland: Image, rigid: AffineTransform) -> CompositeTransform:
    """Return ``rigid`` after the smooth displacement that brings the outlines closer together.

    Args:
        fixed_gland: above 0 inside the organ; any grid, 3D.
        moving_gland: likewise.
        rigid: fixed to moving points, as from `regcore.gland_alignment.align_glands`.

    Returns:
        A field around the fixed organ, without folds and 0 at its border, and then ``rigid``.

    Raises:
        ValueError: a mask that is empty, not finite, not a volume, too thin or without a border, or a transform that
            is not 3D or far from aligning them.
    """
    if rigid.dim != 3:
        raise ValueError(f"rigid: expected a 3D transform, got a {rigid.dim}D one")
    fixed, moving = GlandSurface.of(fixed_gland, "fixed_gland"), GlandSurface.of(moving_gland, "moving_gland")
    pulls = _pulls(fixed, moving, rigid)
    field = _without_folds(_field(pulls, _grid_around(pulls.points, fixed.grid)))
    return CompositeTransform((DenseTransform(field), rigid))


def _pulls(fixed: GlandSurface, moving: GlandSurface, rigid: AffineTransform) -> _Pulls:
    forward, backward = torch.as_tensor(rigid.homogeneous), torch.as_tensor(rigid.inverse().homogeneous)
    (outline, out_shares), (other, home_shares) = _some(fixed), _some(moving)
    other = other @ backward[:3, :3].T + backward[:3, 3]
    shares = torch.cat([out_shares, home_shares])
    here, back = torch.zeros_like(outline), torch.zeros_like(other)
    for _ in range(_ROUNDS):
        # The fixed outline, displaced, should lie on the moving one; what is displaced onto the moving outline should
        # have lain on the fixed one.
        out = moving.probe((outline + here) @ forward[:3, :3].T + forward[:3, 3])
        home = fixed.probe(other - back)
        points = torch.cat([outline, other - back])
        normals = torch.cat([out.slope @ forward[:3, :3], home.slope])
        off = torch.cat([-out.distance, home.distance]) + (normals * torch.cat([here, back])).sum(1)
        seen = torch.cat([out.known, home.known])
        if not bool(seen.any()):
            raise ValueError("rigid: it takes the organs out of each other's images; align them first")
        pulls = _solve(points[seen], normals[seen], off[seen], shares[seen])
        here, back = pulls.at(outline), pulls.at(other - back)
    return pulls


def _solve(points: Tensor, normals: Tensor, off: Tensor, shares: Tensor) -> _Pulls:
    """Return the most probable displacement that moves ``points`` by about ``off`` (mm) along their ``normals``."""
    noise = SURFACE_SD_MM**2 / (SURFACE_POINTS * shares)
    covariance = _kernel(points, points) * (normals @ normals.T) + torch.diag(noise)
    return _Pulls(points, torch.linalg.solve(covariance, off)[:, None] * normals)


def _kernel(these: Tensor, others: Tensor) -> Tensor:
    """Return the covariance ``(n, m)`` (mm^2) of displacements at points ``(n, 3)`` and ``(m, 3)``: Wendland's C2."""
    near = torch.cdist(these, others) / _REACH_MM
    return _SD_MM**2 * (1 - near).clamp_min(0).pow(4) * (4 * near + 1)


def _some(surface: GlandSurface) -> tuple[Tensor, Tensor]:
    """Return a point for each patch of a surface, the mean of its points, and its share of the surface.

    Every nth point would not do: where n suits the mask's rows, whole regions are left out.
    """
    patches = (surface.points / _PATCH_MM).floor().long()
    patch = torch.unique(patches, dim=0, return_inverse=True)[1]
    shares = torch.zeros(int(patch.max()) + 1, dtype=torch.float64).index_add_(0, patch, surface.weights)
    sums = torch.zeros(len(shares), 3, dtype=torch.float64)
    sums.index_add_(0, patch, surface.points * surface.weights[:, None])
    return sums / shares[:, None], shares


def _grid_around(points: Tensor, like: Grid) -> Grid:
    """Return a grid along the axes of ``like`` that holds all that moves."""
    axes = torch.as_tensor(like.axes)
    low, high = ((points @ axes).aminmax(dim=0))[:2]
    size = ((high - low + 2 * _REACH_MM) / _SPACING_MM).ceil().int() + 3
    first = (low + high) / 2 - _SPACING_MM * (size - 1) / 2
    return Grid.of(size.tolist(), [_SPACING_MM] * 3, (axes @ first).tolist(), like.axes)


def _field(pulls: _Pulls, grid: Grid) -> DisplacementField:
    data = torch.empty((3, *grid.shape))
    for rows, places in slabs(grid, 1 << 12):
        moved = pulls.at(places.reshape(3, -1).T.double())
        data[:, rows] = moved.T.reshape(places.shape).float()
    return DisplacementField(data, grid)


def _without_folds(field: DisplacementField) -> DisplacementField:
    """Weaken a displacement until no voxel shrinks too far; outlines that differ very much ask for that."""
    while float(field.jacobian_determinant().min()) < _LEAST_VOLUME:
        field = DisplacementField(0.8 * field.data, field.grid)
    return field
