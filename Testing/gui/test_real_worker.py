"""The panel with the engine's own worker, on small volumes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .bench import Bench, add_ball, slicer

OpenPanel = Callable[..., Bench]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")


def start_and_wait(panel: Bench, iterations: int, until: Callable[[], bool]) -> None:
    """Click Register and wait for something."""
    panel.parameters.iterations = iterations
    panel.click(panel.ui.registerButton)
    panel.wait(until, 60)


def test_register_cancel_kill_and_register_again_in_one_session(
    open_panel: OpenPanel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pictures: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    panel = open_panel(None)
    add_ball("Fixed", size=32)
    add_ball("Moving", 5.0, size=32)
    panel.choose_volumes()
    start_and_wait(panel, 20, lambda: not panel.busy)
    check_result(panel)
    panel.picture(pictures / "registered.png")

    panel.parameters.initial = "centre"  # the affine registration before it is most of the work
    before = panel.scene.GetNumberOfNodes()
    start_and_wait(panel, 1000, lambda: panel.ui.progressBar.value > 100)
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: not panel.busy, 10)
    assert panel.sentence.startswith("Cancelled")

    start_and_wait(panel, 1000, lambda: panel.ui.progressBar.value > 100)
    os.kill(panel.worker.pid, signal.SIGKILL)
    panel.wait(lambda: not panel.busy, 10)
    assert "killed" in panel.sentence
    assert panel.scene.GetNumberOfNodes() == before

    start_and_wait(panel, 20, lambda: not panel.busy)
    check_result(panel)
    panel.wait(lambda: not list(tmp_path.glob("AttentionRegistration-*")), 10)


def check_result(panel: Bench) -> None:
    """The ball lies where the fixed one lies, and the figures say so."""
    assert panel.sentence.startswith("Done in "), panel.ui.log.plainText
    chosen = panel.parameters
    nodes = (chosen.fixed, chosen.moving, chosen.result_warped)
    fixed, moving, warped = (slicer.util.arrayFromVolume(node).astype(float) for node in nodes)
    inside = (slice(4, -4),) * 3
    assert abs(warped - fixed)[inside].mean() < 0.3 * abs(moving - fixed)[inside].mean()
    assert slicer.util.arrayFromVolume(chosen.result_jacobian).min() > 0
    assert panel.ui.figures.rowCount > 0


def test_the_self_test_of_the_module(scene: Any) -> None:
    import AttentionRegistration

    AttentionRegistration.AttentionRegistrationTest().runTest()
