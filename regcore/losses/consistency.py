"""Agreement of the two directions of a registration."""

from __future__ import annotations

from torch import Tensor

from regcore.losses._inputs import check_displacement, in_full_precision
from regcore.ops.fields import compose


@in_full_precision
def inverse_consistency(there: Tensor, back: Tensor) -> Tensor:
    """Return how far from its start a point lands that goes one way and then the other.

    The squared distance (voxels) of both round trips, ``|there(x) + back(x + there(x))|^2`` and the same from the
    other side, the mean over voxels and trips. Outside the grid a field keeps its edge value.

    Args:
        there: ``(N, D, *size)``, voxels.
        back: ``(N, D, *size)``, voxels, on the same grid.

    Returns:
        A scalar, 0 if each field undoes the other.

    Raises:
        ValueError: either is not a field, or the sizes differ.

    Reference:
        Christensen, Johnson, "Consistent image registration", IEEE TMI 2001.
    """
    check_displacement("there", there)
    if there.shape != back.shape:
        raise ValueError(f"back: expected the shape of there, {tuple(there.shape)}, got {tuple(back.shape)}")
    trips = compose(there, back), compose(back, there)
    first, second = (trip.square().sum(1).mean() for trip in trips)
    return 0.5 * (first + second)
