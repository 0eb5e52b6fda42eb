"""Pairs in turn, in several processes on one machine, or on a Dask cluster; each result as soon as it is there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event
from threading import Thread
from typing import Any

import torch

from regcore.cohort.table import Case
from regcore.progress import CancelCheck, Cancelled


@dataclass(frozen=True)
class Outcome:
    """What became of one pair.

    Attributes:
        id: the pair's.
        report: the content of its report.json; None: it failed.
        failure: why, in one sentence.
        anew: it was registered now, not before.
    """

    id: str
    report: dict[str, Any] | None = None
    failure: str | None = None
    anew: bool = True


Task = Callable[[Case, CancelCheck], Outcome]
"""Registers one pair; what goes wrong with the pair is in the outcome, `Cancelled` alone is raised."""

_POLL_SECONDS = 0.2
_PAUSE_S = 0.05  # between questions whether to stop
_LOST = "the process that worked on this pair ended without a word; most often the memory was not enough"

_stop: Event | None = None


def in_turn(task: Task, cases: Sequence[Case], cancelled: CancelCheck) -> Iterator[Outcome]:
    """Yield each case's outcome, one after the other in this process."""
    for case in cases:
        if cancelled():
            raise Cancelled
        yield task(case, cancelled)


def in_processes(task: Task, cases: Sequence[Case], jobs: int, cancelled: CancelCheck) -> Iterator[Outcome]:
    """Yield outcomes from ``jobs`` processes, which share the cores; a process that dies fails its own pair alone."""
    left = {case.id: case for case in cases}
    suspects: list[Case] = []
    while left:
        # Which of the pairs at work broke the pool is not known: each of them is tried again by itself.
        batch, width = ([suspects.pop()], 1) if suspects else (list(left.values()), jobs)
        for case, outcome in _pooled(task, batch, width, jobs, cancelled):
            if outcome is None and width > 1:
                suspects.append(case)
                continue
            del left[case.id]
            yield outcome or Outcome(case.id, failure=_LOST)


def on_cluster(task: Task, cases: Sequence[Case], address: str, cancelled: CancelCheck) -> Iterator[Outcome]:
    """Yield outcomes from the workers of a Dask cluster, which must see the same files under the same paths.

    Raises:
        ValueError: `distributed` is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("dask: it needs the package distributed; pip install attention-registration[cluster]") from (
            error
        )
    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ValueError(f"dask: no scheduler answers at {address}") from error
    with client:
        executor = client.get_executor(pure=False)
        try:
            for case, future in _flow(executor, partial(_without_end, task), cases, len(cases), cancelled):
                lost = future.exception()
                yield future.result() if lost is None else Outcome(case.id, failure=case.anonymous(str(lost)))
        finally:
            # Waits for none: what is at work ends by itself, and what it writes is found by the next run.
            executor.shutdown(wait=False)


def _pooled(
    task: Task, cases: Sequence[Case], width: int, jobs: int, cancelled: CancelCheck
) -> Iterator[tuple[Case, Outcome | None]]:
    """Yield outcomes, None for cases that were at work when a process died; ends then."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(min(width, len(cases)), context, initializer=_begin, initargs=(stop, threads))
    with pool:
        try:
            for case, future in _flow(pool, partial(_until_stopped, task), cases, width, cancelled):
                died = isinstance(future.exception(), BrokenProcessPool)
                yield case, None if died else future.result()
        finally:
            stop.set()


def _flow(
    executor: Executor,
    work: Callable[[Case], Outcome],
    cases: Sequence[Case],
    width: int,
    cancelled: CancelCheck,
) -> Iterator[tuple[Case, Future[Outcome]]]:
    """Keep ``width`` cases at work; yield each with its future once that is done, until a process dies."""
    waiting = deque(cases)
    running: dict[Future[Outcome], Case] = {}
    broken = False
    while running or (waiting and not broken):
        while waiting and len(running) < width and not broken:
            try:
                running[executor.submit(work, waiting[0])] = waiting[0]
                waiting.popleft()
            except BrokenProcessPool:
                broken = True
        if cancelled():
            raise Cancelled
        done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future


def _begin(stop: Event, threads: int) -> None:
    """Set up a process: Ctrl-C reaches the whole group, but the parent alone decides what it means."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone: a killed one cannot say so, and its pool would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _until_stopped(task: Task, case: Case) -> Outcome:
    return task(case, _now_and_then(lambda: _stop is not None and _stop.is_set()))


def _now_and_then(cancelled: CancelCheck) -> CancelCheck:
    """Ask no more often than twenty times a second: the answer is behind a lock that all processes share."""
    due = 0.0

    def ask() -> bool:
        nonlocal due
        now = time.monotonic()
        if now < due:
            return False
        due = now + _PAUSE_S
        return cancelled()

    return ask


def _without_end(task: Task, case: Case) -> Outcome:
    return task(case, lambda: False)
