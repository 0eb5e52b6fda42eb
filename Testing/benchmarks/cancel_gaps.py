"""How long a registration works without asking whether to stop: the longest time between two questions, per stage.

Runs what the worker runs, in this process, on the brain pair at its full size, or on a pair of MRI and ultrasound. On
one thread CPU seconds are what a free core would need; with more, ask for wall seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from worker_messages import register_message

from regcore.heap import keep_freed_memory
from regcore.worker import job
from regcore.worker.protocol import parse

PROJECT = Path(__file__).resolve().parents[2]
CHOICES = {
    "pan": {"model": "pan"},
    "refine": {"preset": "brain-mri"},
    "mind": {"model": "none", "init": ["rigid"], "similarity": "mind"},
    "caml-small": {"model": "caml-small"},
}
OUTPUTS = {"inverse": True, "jacobian": True, "attention": True}
_WORTH_NOTING = 0.01


class Gaps:
    """Asked like a cancel check; keeps the longest time since the question before, by stage, and where that ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._before = clock, clock()
        self._stage, self.longest = "reading", dict[str, tuple[float, str]]()

    def progress(self, fraction: float, stage: str, message: str) -> None:
        self._stage = stage

    def asked(self) -> bool:
        now = self._clock()
        gap, self._before = now - self._before, now
        if gap > max(_WORTH_NOTING, self.longest.get(self._stage, (0.0, ""))[0]):
            self.longest[self._stage] = gap, _where()
            self._before = self._clock()
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data", help="folder of real images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="wall seconds, not CPU seconds")
    parser.add_argument("--only", nargs="*", default=[*CHOICES, "prostate"], help="which of the registrations")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    for name in chosen.only:
        with tempfile.TemporaryDirectory() as folder:
            settings = {"preset": "mri-trus-prostate"} if name == "prostate" else CHOICES[name]
            files = _prostate(chosen.data) if name == "prostate" else _brain(chosen.data)
            request = parse(register_message("1", Path(folder), files, settings, OUTPUTS))
            gaps = Gaps(time.perf_counter if chosen.wall else time.process_time)
            result = job.run(request, gaps.progress, gaps.asked)  # type: ignore[arg-type]
        print(f"{name}: {result.seconds:.1f} s", flush=True)
        for stage, (gap, where) in gaps.longest.items():
            print(f"  {stage:20} {gap:6.2f} s  before {where}", flush=True)
    return 0


def _brain(data: Path) -> dict[str, Path]:
    names = {"fixed": "scan_a", "moving": "scan_c"}
    files = {side: data / "brain" / f"{name}.nii.gz" for side, name in names.items()}
    labels = {f"{side}_labels": data / "brain" / f"{name}_labels13.nii.gz" for side, name in names.items()}
    return files | labels


def _prostate(data: Path) -> dict[str, Path]:
    folder = data / "prostate"
    names = {"fixed": "mri", "moving": "trus", "fixed_labels": "mri_labels", "moving_labels": "trus_labels"}
    return {part: folder / f"case16_{name}.nii.gz" for part, name in names.items()}


def _where() -> str:
    """Return the innermost lines of the package that are at work."""
    frame, found = sys._getframe(2), []
    while frame is not None and len(found) < 3:
        path = Path(frame.f_code.co_filename)
        if "regcore" in path.parts and path.name not in ("watch.py", "stages.py", "job.py"):
            found.append(f"{path.stem}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(found)


if __name__ == "__main__":
    raise SystemExit(main())
