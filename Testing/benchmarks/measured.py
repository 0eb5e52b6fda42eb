"""Run one command as a process of its own and measure what it cost, its children included."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What a process used.

    Attributes:
        wall_s: seconds from start to end.
        cpu_s: seconds of processor time, user and system, of the process and all it started.
        peak_mib: largest resident memory of any one of them (MiB).
    """

    wall_s: float
    cpu_s: float
    peak_mib: float


class FailedError(Exception):
    """The command ended with an error; the message holds the end of what it said."""


def run_measured(command: Sequence[str | Path], log: Path, threads: int) -> Cost:
    """Run ``command`` with ``threads`` threads, its output going to ``log``.

    Raises:
        FailedError: it did not end with 0.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=subprocess.STDOUT, env=_environment(threads)
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        raise FailedError(f"ended with {child.returncode}; {log} says: " + " / ".join(last))
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _environment(threads: int) -> Mapping[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads)), "CUDA_VISIBLE_DEVICES": ""}
