"""Pictures of the panel in all its states, for people to look at: in REGCORE_PICTURES, else in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .bench import SECTIONS, Bench, QtGui, add_ball

OpenPanel = Callable[..., Bench]


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


def test_empty(panel: Bench, pictures: Path) -> None:
    panel.picture(pictures / "empty.png")
    check(pictures / "empty.png")


def test_ready(panel: Bench, pictures: Path) -> None:
    ready(panel).picture(pictures / "ready.png")
    check(pictures / "ready.png")


def test_everything_opened(panel: Bench, pictures: Path) -> None:
    ready(panel)
    for name in SECTIONS:
        panel.open_section(name)
    panel.picture(pictures / "opened.png")
    check(pictures / "opened.png")


def test_running(open_panel: OpenPanel, pictures: Path) -> None:
    panel = ready(open_panel("slow"))
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: panel.ui.progressBar.value > 300)
    panel.picture(pictures / "running.png")
    check(pictures / "running.png")
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: not panel.busy)


def test_done(panel: Bench, pictures: Path) -> None:
    ready(panel).register()
    panel.picture(pictures / "done.png")
    check(pictures / "done.png")


def test_error(open_panel: OpenPanel, pictures: Path) -> None:
    panel = ready(open_panel("crash"))
    panel.register()
    panel.picture(pictures / "error.png")
    check(pictures / "error.png")
