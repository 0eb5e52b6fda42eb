"""How long a registration of two full-size volumes holds Slicer up: every poll is timed, no window is needed.

`python Testing/benchmarks/slicer_gaps.py` takes a worker that writes a field as large as a real one; `--real` takes the
engine's own (some minutes). The target is 100 ms.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "AttentionRegistration")]

import numpy as np
import slicer

from AttentionRegistrationLib.logic import Failure, Logic, Outcome, Progress
from AttentionRegistrationLib.request import Outputs, Request
from AttentionRegistrationLib.worker_client import WorkerClient

SIZE = (160, 192, 224)
INTERVAL_S = 0.05
TARGET_MS = 100.0


class Times:
    """A listener that also keeps the time of every call, by stage."""

    def __init__(self) -> None:
        self.stage = "start"
        self.calls: dict[str, list[float]] = {}
        self.work: dict[str, list[float]] = {}
        self.outcome: Outcome | None = None

    def on_progress(self, progress: Progress) -> None:
        self.stage = progress.stage

    def on_done(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def on_failed(self, failure: Failure) -> None:
        raise SystemExit(f"{failure.sentence}\n{failure.details}")

    def time(self, call: Callable[[], None]) -> None:
        """Call, and keep how long it took, and how long it worked rather than waited for a core or for memory."""
        stage, began, worked = self.stage, time.perf_counter(), time.thread_time()
        call()
        self.calls.setdefault(stage, []).append((time.perf_counter() - began) * 1000)
        self.work.setdefault(stage, []).append((time.thread_time() - worked) * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="with the engine's own worker")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.GetColorLogic().SetMRMLScene(scene)
    application.GetColorLogic().AddDefaultColorNodes()
    slicer.mrmlScene = scene
    noise = np.random.default_rng(0)
    pair = [slicer.util.addVolumeFromArray(noise.normal(100, 20, SIZE).astype(np.float32), name=n) for n in "ab"]
    fake = PROJECT / "Testing" / "slicer" / "fake_worker.py"
    logic = Logic() if chosen.real else Logic(WorkerClient([sys.executable, str(fake), "well"]))
    worst = 0.0
    for number in range(chosen.repeats):
        times = one(logic, *pair)
        print(f"registration {number + 1} of {'x'.join(map(str, SIZE))}, longest call by stage (ms):")
        for stage, calls in times.calls.items():
            work = max(times.work[stage])
            print(f"  {stage:20} {max(calls):7.1f}, of work {work:5.1f}  ({len(calls)} calls, {sum(calls):.0f} in all)")
        worst = max(worst, *(max(calls) for calls in times.calls.values()))
    logic.close()
    print(f"longest block: {worst:.1f} ms (target: {TARGET_MS:.0f} ms)")


def one(logic: Logic, fixed: object, moving: object) -> Times:
    """Register once as the panel does, a timer's pause between the calls."""
    times = Times()
    request = Request(fixed, moving, init=("centre",), refine=2, outputs=Outputs(True, True, True))
    times.time(lambda: logic.start(request, times))
    while logic.busy:
        time.sleep(INTERVAL_S)
        times.time(logic.poll)
    return times


if __name__ == "__main__":
    main()
