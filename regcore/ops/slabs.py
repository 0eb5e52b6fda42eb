"""Walking through a volume in slabs that stay in the processor's cache.

Arithmetic on a whole full-size volume waits for memory; on slabs of a few hundred thousand voxels it runs several
times faster, the neighbours that windows and stencils need included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_SLAB_VOXELS = 600_000


class Slab(NamedTuple):
    """Rows of the first spatial axis.

    Attributes:
        rows: what this slab is to produce.
        outer: ``rows`` and what lies within reach.
        inner: ``rows`` counted from the start of ``outer``.
    """

    rows: slice
    outer: slice
    inner: slice


def slabs(shape: Sequence[int], reach: int = 0, voxels: int = _SLAB_VOXELS) -> Iterator[Slab]:
    """Cut the first axis of ``shape`` into slabs of about ``voxels`` voxels, ``reach`` rows around each."""
    size = shape[0]
    count = min(size, max(1, round(math.prod(shape) / voxels)))
    for number in range(count):
        start, stop = number * size // count, (number + 1) * size // count
        low, high = max(0, start - reach), min(size, stop + reach)
        yield Slab(slice(start, stop), slice(low, high), slice(start - low, stop - low))
