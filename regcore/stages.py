"""The clock of a registration: names its stages, times them, passes progress on and stops when asked to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from regcore.progress import CancelCheck, Cancelled, Progress


class Stages:
    """Runs stages in turn, each with its share of the whole.

    Args:
        shares: stage name -> expected share of the work, in any unit.
        progress: told the fraction of the whole, the stage and a message.
        cancelled: asked at each report.

    Attributes:
        seconds: stage name -> wall seconds, in the order run.
    """

    def __init__(
        self, shares: dict[str, float], progress: Progress | None = None, cancelled: CancelCheck | None = None
    ) -> None:
        total = sum(shares.values())
        self._shares = {name: share / total for name, share in shares.items()}
        self._progress, self._cancelled = progress, cancelled
        self._before, self._reported = 0.0, 0.0
        self._answering = False
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float, str], None]]:
        """Time the block as ``name``; yields what it reports its own fraction and a message to."""
        share, start = self._shares[name], time.perf_counter()

        def report(fraction: float, message: str = "") -> None:
            if self.asked_to_stop():
                raise Cancelled
            self._reported = max(self._reported, min(1.0, self._before + share * fraction))
            if self._progress is not None:
                self._progress(self._reported, name, message)

        report(0.0)
        yield report
        self._before += share
        report(0.0)
        self.seconds[name] = time.perf_counter() - start

    def asked_to_stop(self) -> bool:
        """Whether the user wants to stop.

        While the question is being answered nobody asks again: the answer may hold a lock (see `regcore.watch.asking`).
        """
        if self._cancelled is None or self._answering:
            return False
        self._answering = True
        try:
            return self._cancelled()
        finally:
            self._answering = False
