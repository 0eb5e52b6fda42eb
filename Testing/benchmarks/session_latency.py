"""Seconds from a change of the ultrasound to the new transform in the scene, and where they go.

One case of the real prostate images in a session as the tab runs it: both are polled every 50 ms, the engine's own
worker has two threads, and the content of the ultrasound is moved some mm along R, over and over. Counted is from the
change of the voxels to `Session` having its result. Ends with 1 if a warm registration takes longer than the limit.

    python Testing/benchmarks/session_latency.py [--case case16] [--threads 2] [--repeats 3] [--limit 1.5]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "AttentionRegistration")]

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
import slicer  # noqa: E402

from AttentionRegistrationLib.logic import Logic  # noqa: E402
from AttentionRegistrationLib.session import Session  # noqa: E402
from AttentionRegistrationLib.session_state import GLAND, MRI, TRUS  # noqa: E402

INTERVAL_S = 0.05
STEP_MM = 2.0


def main() -> int:
    """Measure and print."""
    chosen = _arguments()
    os.environ["OMP_NUM_THREADS"] = str(chosen.threads)
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    logic = Logic()
    session = Session(logic)
    session.bind(scene)
    state: Any = session.state
    for role, part in ((MRI, "mri"), (TRUS, "trus"), (GLAND, "mri_labels")):
        state.choose(role, _read(chosen.data / f"{chosen.case}_{part}.nii.gz", outline=role == GLAND))
    session.watch(True)
    image = slicer.util.arrayFromVolume(state.get(TRUS)).copy()
    shift = max(1, round(STEP_MM / state.get(TRUS).GetSpacing()[0]))
    slowest = 0.0
    try:
        session.register()
        _until(session, logic, 1)
        first = state.entries[0]
        print(
            f"first registration, with the start of the engine: {first.seconds:.2f} s "
            f"(engine {first.engine_seconds:.2f})"
        )
        for number in range(2, chosen.repeats + 2):
            slicer.util.updateVolumeFromArray(state.get(TRUS), np.roll(image, shift * (number - 1), axis=2))
            times = _until(session, logic, number)
            entry = state.entries[-1]
            rest = entry.seconds - times["waiting for quiet"] - entry.engine_seconds
            parts = {**times, "engine": entry.engine_seconds, "writing, messages, polls and nodes": rest}
            parts["CPU seconds of the engine"] = _cpu_seconds(state, number)
            told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())
            print(f"registration {number} after a change: {entry.seconds:.2f} s from the change to the nodes ({told})")
            slowest = max(slowest, entry.seconds)
    finally:
        logic.close()
    print(f"slowest warm registration: {slowest:.2f} s (target: {chosen.limit:g} s on 2 cores)")
    return int(slowest > chosen.limit)


def _until(session: Session, logic: Logic, count: int) -> dict[str, float]:
    """Poll as the tab does until there are so many results; return the seconds before the registration began."""
    began, waited, longest = time.perf_counter(), 0.0, 0.0
    state: Any = session.state
    while len(state.entries) < count:
        tick = time.perf_counter()
        logic.poll()
        session.poll()
        if session.failed:
            raise SystemExit(session.sentence)
        waited = waited or (time.perf_counter() - began if session.registering else 0.0)
        longest = max(longest, time.perf_counter() - tick)
        time.sleep(INTERVAL_S)
    return {"waiting for quiet": waited, "longest poll": longest}


def _cpu_seconds(state: Any, number: int) -> float:
    """Return what the engine computed: where other programs are running it says more than the seconds that passed."""
    (record,) = (node for node in state.nodes(number).everything if node.IsA("vtkMRMLTextNode"))
    return float(json.loads(record.GetText())["cpu_seconds"])


def _read(path: Path, outline: bool) -> Any:
    image = sitk.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    kind = "vtkMRMLLabelMapVolumeNode" if outline else "vtkMRMLScalarVolumeNode"
    array, to_ras = sitk.GetArrayFromImage(image), np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
    return slicer.util.addVolumeFromArray(array, to_ras, path.name, nodeClassName=kind)


def _arguments() -> argparse.Namespace:
    data = Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data")) / "prostate"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data, help="folder of the cases; by default in REGCORE_DATA")
    parser.add_argument("--case", default="case16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=1.5, help="seconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
