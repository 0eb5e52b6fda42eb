"""Pictures of the panel in all its states, for people to look at: in REGCORE_PICTURES, else in a temporary folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6 import QtGui

from .bench import SECTIONS, Bench, add_ball

OpenPanel = Callable[..., Bench]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Path(os.environ.get("REGCORE_PICTURES", str(tmp_path)))
    made.mkdir(parents=True, exist_ok=True)
    return made


def ready(panel: Bench) -> Bench:
    add_ball("MRI")
    add_ball("Ultrasound", 4.0)
    panel.choose_volumes("MRI", "Ultrasound")
    panel.wait(lambda: panel.widget.panel.heard)
    return panel


def check(path: Path) -> None:
    """There is a picture, and something is drawn in it."""
    picture = QtGui.QImage(str(path))
    colours = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
    assert picture.width() > 400
    assert len(colours) > 10


def test_empty(panel: Bench, folder: Path) -> None:
    panel.picture(folder / "empty.png")
    check(folder / "empty.png")


def test_ready(panel: Bench, folder: Path) -> None:
    ready(panel).picture(folder / "ready.png")
    check(folder / "ready.png")


def test_everything_opened(panel: Bench, folder: Path) -> None:
    ready(panel)
    for name in SECTIONS:
        panel.open_section(name)
    panel.picture(folder / "opened.png")
    check(folder / "opened.png")


def test_running(open_panel: OpenPanel, folder: Path) -> None:
    panel = ready(open_panel("slow"))
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: panel.ui.progressBar.value > 300)
    panel.picture(folder / "running.png")
    check(folder / "running.png")
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: not panel.busy)


def test_done(panel: Bench, folder: Path) -> None:
    ready(panel).register()
    panel.picture(folder / "done.png")
    check(folder / "done.png")


def test_error(open_panel: OpenPanel, folder: Path) -> None:
    panel = ready(open_panel("crash"))
    panel.register()
    panel.picture(folder / "error.png")
    check(folder / "error.png")
