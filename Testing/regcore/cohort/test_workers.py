"""Processes that run pairs: what dies or is stopped, and what goes on."""

from __future__ import annotations

import importlib
import os
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
