"""A session of MRI and ultrasound with a warm worker: seconds from a changed ultrasound volume to its result.

The worker is started as Slicer starts it. The first registration loads the networks; then the ultrasound volume changes
again and again (grain is added to it) and is registered anew. Counted are the writing of the changed array, the
message, the registration, the result's message and the reading of its arrays: all but making nodes of them. CPU
seconds are the worker's own and tell more than wall seconds where other programs are running.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from worker_messages import register_message

PROJECT = Path(__file__).resolve().parents[2]
OUTPUTS = {"inverse": False, "jacobian": True}


class Session:
    """A worker process."""

    def __init__(self, threads: int) -> None:
        command = [sys.executable, "-m", "regcore.worker"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=PROJECT)
        assert self.answer()["type"] == "hello"

    def answer(self) -> dict[str, Any]:
        """Return the next message that is no progress."""
        assert self._process.stdout is not None
        while (message := json.loads(self._process.stdout.readline()))["type"] == "progress":
            pass
        if message["type"] == "error":
            raise RuntimeError(f"{message['sentence']} {message['details']}")
        found: dict[str, Any] = message
        return found

    def ask(self, line: bytes) -> dict[str, Any]:
        """Send a message and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """End the worker."""
        self._process.communicate()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data", help="folder of real images")
    parser.add_argument("--case", default="case16")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--ensemble", type=int, nargs="*", default=[8])
    parser.add_argument("--both-glands", action="store_true", help="the gland is outlined in the ultrasound too")
    chosen = parser.parse_args(arguments)
    for threads in chosen.threads:
        for ensemble in chosen.ensemble:
            _measure(chosen, threads, ensemble)
    return 0


def _measure(chosen: argparse.Namespace, threads: int, ensemble: int) -> None:
    began = time.perf_counter()
    session = Session(threads)
    print(f"{threads} thread(s), ensemble of {ensemble}: {time.perf_counter() - began:.1f} s to the hello", flush=True)
    names = {"fixed": "mri", "moving": "trus", "fixed_labels": "mri_labels"}
    if chosen.both_glands:
        names["moving_labels"] = "trus_labels"
    files = {part: chosen.data / "prostate" / f"{chosen.case}_{name}.nii.gz" for part, name in names.items()}
    settings = {"preset": "mri-trus-prostate", "ensemble": ensemble}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        line = register_message("1", folder, files, settings, OUTPUTS)
        began = time.perf_counter()
        session.ask(line)
        print(f"  first registration {time.perf_counter() - began:.2f} s", flush=True)
        taken = _again(session, line, folder, chosen.repeats)
    session.close()
    for name, values in taken.items():
        print(f"  {name:34} median {median(values):6.3f} s, least {min(values):6.3f} s", flush=True)


def _again(session: Session, line: bytes, folder: Path, repeats: int) -> Mapping[str, list[float]]:
    """Return what each part took, over several changes of the ultrasound volume."""
    array, generator = np.load(folder / "moving.npy").astype(np.float32), np.random.default_rng(0)
    taken: dict[str, list[float]] = {}
    for _ in range(repeats):
        changed = array + generator.normal(0, 0.02 * array.std(), array.shape).astype(np.float32)
        began = time.perf_counter()
        np.save(folder / "moving.npy", changed)
        result = session.ask(line)
        for part in (result["warped"], result["jacobian"], result["transform"]["field"]):
            if part is not None:
                np.load(folder / part["array"])
        parts = {"from change to result": time.perf_counter() - began, "in the worker": result["seconds"]}
        parts |= {f"  {stage['name']}": stage["seconds"] for stage in result["report"]["stages"]}
        parts["CPU seconds of the worker"] = result["report"]["cpu_seconds"]
        for name, seconds in parts.items():
            taken.setdefault(name, []).append(seconds)
    return taken


if __name__ == "__main__":
    raise SystemExit(main())
