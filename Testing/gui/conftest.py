"""The real panel in Qt over the real MRML of slicer-core; what is missing of Slicer is in `standins`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
_APT = "apt-get install libegl1 libgl1 libxkbcommon0 libfontconfig1 libdbus-1-3 libglib2.0-0 fonts-dejavu-core"
pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed: pip install '.[test]'")
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError, reason=f"Qt needs libraries of the system: {_APT}")

from . import standins  # noqa: E402
from .bench import MODULE, Bench  # noqa: E402

FAKE_WORKER = Path(__file__).resolve().parents[1] / "slicer" / "fake_worker.py"


@pytest.fixture(scope="package", autouse=True)
def installed() -> Iterator[standins.Installed]:
    """Slicer, as far as there is one."""
    done = standins.install(MODULE)
    yield done
    done.undo()


@pytest.fixture
def scene(installed: standins.Installed) -> Iterator[Any]:
    """An empty scene with three slice views."""
    made = standins.new_scene(installed)
    yield made
    made.Clear(True)


@pytest.fixture
def open_panel(scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Function that opens the module: with a pretended worker in a certain mood, or without a mood the real one."""
    opened: list[Bench] = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def open_it(mood: str | None = "well") -> Bench:
        opened.append(Bench(scene, None if mood is None else [sys.executable, str(FAKE_WORKER), mood]))
        return opened[-1]

    yield open_it
    for bench in opened:
        bench.close()


@pytest.fixture
def panel(open_panel: Callable[..., Bench]) -> Bench:
    """The module opened, with a pretended worker."""
    return open_panel()
