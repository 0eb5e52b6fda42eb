"""Walking through a volume in slabs that stay in the processor's cache.

Arithmetic on a whole full-size volume waits for memory; on slabs of a few hundred thousand voxels it runs several
times faster, the neighbours that windows and stencils need included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import NamedTuple, TypeVar

import torch

_SLAB_VOXELS = 600_000
_WORTH_CUTTING = 100_000  # voxels: what is larger is cut in two at least, for two threads
_T = TypeVar("_T")


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
    total = math.prod(shape)
    count = min(size, max(2 if total > _WORTH_CUTTING else 1, round(total / voxels)))
    for number in range(count):
        start, stop = number * size // count, (number + 1) * size // count
        low, high = max(0, start - reach), min(size, stop + reach)
        yield Slab(slice(start, stop), slice(low, high), slice(start - low, stop - low))


class SlabRunner:
    """Runs slabs side by side, one thread each.

    Threads that share every single operation wait for one another hundreds of times per iteration, busily; where
    something else keeps a core, that costs ten times the time of the work itself. See `slab_runner`.
    """

    def __init__(self, pool: ThreadPoolExecutor | None = None, ask: Callable[[], None] | None = None) -> None:
        self._pool, self._ask = pool, ask

    def asking(self, ask: Callable[[], None]) -> SlabRunner:
        """Return one that calls ``ask`` before each slab; what that raises ends the run."""
        return SlabRunner(self._pool, ask)

    def __call__(self, work: Callable[[Slab], _T], parts: Iterable[Slab]) -> list[_T]:
        """Return ``work`` of each slab, in order."""

        def asked(slab: Slab) -> _T:
            if self._ask is not None:
                self._ask()
            return work(slab)

        return list(map(asked, parts) if self._pool is None else self._pool.map(asked, parts))


@contextmanager
def slab_runner(device: torch.device) -> Iterator[SlabRunner]:
    """Provide as many threads as torch may use on this device's side; on a GPU the slabs follow one another."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        yield SlabRunner()
        return
    started = Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)  # of this thread, but also what threads to come begin with: put right below
        started.wait()

    with ThreadPoolExecutor(threads, initializer=start) as pool:
        for _ in range(threads):
            pool.submit(int)
        started.wait()
        torch.set_num_threads(threads)
        yield SlabRunner(pool)
