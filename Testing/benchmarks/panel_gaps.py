"""How long the panel's event loop stands still while a pair of 160x192x224 voxels is registered with the real worker.

Prints the time to load the module, and for each of two registrations the time from the click on Register to the nodes
in the scene, and the longest gaps between two ticks of a timer of 5 ms, each with the time that the panel's own thread
computed in it: the rest it waited, as a rule for a processor that others had. Ends with 1 if a gap exceeds 100 ms. A
loaded machine makes gaps of its own: run it alone.

    python Testing/benchmarks/panel_gaps.py [--size 160 192 224] [--iterations 20] [--limit 100]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "Testing" / "gui"), str(PROJECT / "AttentionRegistration")]

import numpy as np  # noqa: E402
import slicer  # noqa: E402
import standins  # noqa: E402
from bench import MODULE, Bench  # noqa: E402
from PySide6 import QtCore  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402

TICK_MS = 5


class Gaps:
    """Times between the ticks of a timer, and what this thread computed in them, in ms."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []
        self._last = self._now()
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)

    def _tick(self) -> None:
        now = self._now()
        self.seen.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now

    @staticmethod
    def _now() -> tuple[float, float]:
        return 1000 * time.perf_counter(), 1000 * time.thread_time()

    def stop(self) -> list[tuple[float, float]]:
        """Return the gaps, the longest first."""
        self._tick()
        self._timer.stop()
        return sorted(self.seen, reverse=True)


def main() -> int:
    """Measure and print."""
    chosen = _arguments()
    done = standins.install(MODULE)
    scene = standins.new_scene(done)
    began = time.perf_counter()
    importlib.import_module(MODULE.stem)
    print(f"loading the module: {time.perf_counter() - began:.2f} s")
    bench = Bench(scene, None)
    _add_pair(tuple(chosen.size))
    bench.choose_volumes()
    bench.parameters.iterations = chosen.iterations
    longest = 0.0
    for which in ("first", "second"):
        seconds, gaps = _register(bench)
        longest = max(longest, gaps[0][0])
        five = ", ".join(f"{gap:.0f} ({own:.0f})" for gap, own in gaps[:5])
        most = max(own for _, own in gaps)
        print(f"{which} registration: {seconds:.1f} s from click to nodes, longest gap {gaps[0][0]:.0f} ms")
        print(f"  longest gaps, and computed in them: {five} ms; most computed in one gap: {most:.0f} ms")
        print(f"  {bench.sentence}")
    bench.close()
    return int(longest > chosen.limit)


def _register(bench: Bench) -> tuple[float, list[tuple[float, float]]]:
    gaps, began = Gaps(), time.perf_counter()
    QTest.mouseClick(bench.ui.registerButton, QtCore.Qt.MouseButton.LeftButton)
    while bench.busy:
        QTest.qWait(50)
    return time.perf_counter() - began, gaps.stop()


def _add_pair(size: tuple[int, ...]) -> None:
    """Add a soft ball with texture, and the same one a little moved, of the size (k, j, i)."""
    for name, shift in (("Fixed", 0.0), ("Moving", 4.0)):
        axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in size]
        k, j, i = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :] - np.float32(shift)
        ball = 1 / (1 + np.exp((np.sqrt(k**2 + j**2 + i**2) - 0.35 * min(size)) / 2))
        texture = 1 + 0.3 * np.sin(i / 7) * np.cos(j / 9) * np.sin(k / 8)
        node: Any = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, (500 * ball * texture).astype(np.int16))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[160, 192, 224], help="voxels (k, j, i)")
    parser.add_argument("--iterations", type=int, default=20, help="of the refinement")
    parser.add_argument("--limit", type=float, default=100.0, help="ms")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
