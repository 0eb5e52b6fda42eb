"""Processes that run pairs: what dies or is stopped, and what goes on."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from regcore.cohort.table import Case
from regcore.cohort.workers import in_processes
from regcore.progress import Cancelled


@pytest.fixture
def tasks(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("pair_tasks")


def test_a_process_that_dies_fails_its_own_pair_alone(tasks):
    cases = [Case(name, {}) for name in ("a", "killer", "b")]
    found = {outcome.id: outcome for outcome in in_processes(tasks.deadly, cases, 2, lambda: False)}
    assert set(found) == {"a", "killer", "b"}
    assert "memory" in (found["killer"].failure or "")
    assert os.getpid() not in {found[name].report["by"] for name in "ab"}


def test_cancelling_stops_the_pairs_at_work(tasks, tmp_path):
    cases = [Case(name, {"fixed": tmp_path / name}) for name in ("a", "b", "c")]
    with pytest.raises(Cancelled):
        list(in_processes(tasks.endless, cases, 2, lambda: (tmp_path / "a").exists()))
    assert not (tmp_path / "c").exists()


def test_processes_end_when_their_parent_is_killed(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from pair_tasks import endless\n"
        "from regcore.cohort.table import Case\n"
        "from regcore.cohort.workers import in_processes\n"
        f"cases = [Case(name, {{'fixed': Path({str(tmp_path)!r}) / name}}) for name in 'ab']\n"
        "list(in_processes(endless, cases, 2, lambda: False))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as parent:
        try:
            _until(lambda: all((tmp_path / name).exists() for name in "ab"))
        finally:
            parent.kill()
    _until(lambda: all(time.time() - (tmp_path / name).stat().st_mtime > 2 for name in "ab"))


def _until(come_true: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not come_true():
        assert time.monotonic() < end
        time.sleep(0.1)
