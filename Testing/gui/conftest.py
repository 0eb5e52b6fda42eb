"""The real panel in Qt over the real MRML of slicer-core; what is missing of Slicer is in `standins`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # at run time only by the tests: where Qt cannot be loaded they are skipped
    from .bench import Bench
    from .standins import Installed

FAKE_WORKER = Path(__file__).resolve().parents[1] / "slicer" / "fake_worker.py"


@pytest.fixture(scope="package", autouse=True)
def installed() -> Iterator[Installed]:
    """Slicer, as far as there is one."""
    from .bench import MODULE
    from .standins import install

    done = install(MODULE)
    yield done
    done.undo()


@pytest.fixture
def scene(installed: Installed) -> Iterator[Any]:
    """An empty scene with three slice views."""
    from .standins import new_scene

    made = new_scene(installed)
    yield made
    made.Clear(True)


@pytest.fixture
def open_panel(scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Function that opens the module: with a pretended worker in a certain mood, or without a mood the real one."""
    from .bench import Bench

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


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folder for pictures of the panel."""
    made = Path(os.environ.get("REGCORE_PICTURES", str(tmp_path)))
    made.mkdir(parents=True, exist_ok=True)
    return made
