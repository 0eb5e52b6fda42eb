"""How the worker ends: with its client, in the middle of whatever it does, and without a trace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from regcore.cli.main import main

from .process import FAULTY, PATIENCE, Worker, request

BARE = """
    import sys

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("jsonargparse", "rich", "matplotlib", "jinja2", "scipy", "lightning"):
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Absent())
    import runpy

    runpy.run_module("regcore.worker", run_name="__main__")
"""


def busy(worker, pair, folder):
    """Let the worker begin a registration that takes for ever."""
    worker.send(request(folder, {"model": "takes-its-time", "init": ["none"]}, fixed=pair[0], moving=pair[1]))
    while worker.receive()["stage"] != "takes-its-time":
        pass
    return {path.name for path in folder.iterdir()}


def test_it_needs_nothing_but_what_slicer_has(pair, tmp_path):
    worker = Worker([sys.executable, "-c", textwrap.dedent(BARE)]).ready()
    assert "takes-its-time" not in [model["name"] for model in worker.hello["models"]]
    message = request(tmp_path, {"init": ["rigid"], "refine": 4}, fixed=pair[0], moving=pair[1])
    assert worker.ask(message)["type"] == "result"
    if hasattr(os, "nice"):  # whoever waits in Slicer's window comes first, in all threads
        threads = [int(path.name) for path in Path(f"/proc/{worker.process.pid}/task").glob("*")]
        modest = os.getpriority(os.PRIO_PROCESS, 0) + 5
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in [worker.process.pid, *threads]} == {modest}
    worker.send({"type": "shutdown"})
    assert worker.ended() == 0
    assert worker.said == ""


def test_it_ends_with_its_input_in_the_middle_of_work(pair, tmp_path):
    worker = Worker().ready()
    files = busy(worker, pair, tmp_path)
    worker.process.stdin.close()
    began = time.monotonic()
    assert worker.ended() == 0
    assert time.monotonic() - began < PATIENCE / 4
    assert {path.name for path in tmp_path.iterdir()} == files
    assert worker.lines[-1].startswith(b'{"type": "progress"')


def test_it_leaves_when_told_to_in_the_middle_of_work(pair, tmp_path):
    worker = Worker().ready()
    busy(worker, pair, tmp_path)
    worker.send({"type": "shutdown"})
    assert worker.ended() == 0


@pytest.mark.skipif(os.name == "nt", reason="processes end otherwise on Windows")
@pytest.mark.parametrize("keeps_the_pipe", [False, True], ids=["alone", "another process holds the pipe"])
def test_it_does_not_outlive_a_killed_parent(tmp_path, keeps_the_pipe):
    """The parent is a process of its own, killed while the worker starts or waits."""
    program = f"""
        import os, subprocess, sys, time
        reading, writing = os.pipe()
        os.set_inheritable(writing, {keeps_the_pipe})
        child = subprocess.Popen([sys.executable, {str(FAULTY)!r}], stdin=reading, stdout=subprocess.PIPE)
        child.stdout.readline()
        if {keeps_the_pipe}:
            subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    assert lives(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    began = time.monotonic()
    while lives(worker):
        assert time.monotonic() - began < PATIENCE / 4
        time.sleep(0.05)


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_crash_is_only_its_own(pair, tmp_path):
    worker = Worker().ready()
    answer = worker.ask(request(tmp_path, {"model": "crashes", "init": ["none"]}, fixed=pair[0], moving=pair[1]))
    assert answer is None
    assert worker.ended() != 0


def test_the_command_explains_itself(capsys):
    with contextlib.suppress(SystemExit):
        assert main(["worker", "--help"]) == 0
    said = capsys.readouterr().out
    assert "JSON" in said
    assert len(said.splitlines()) < 25


def test_the_command_is_the_worker(pair, tmp_path):
    worker = Worker([sys.executable, "-m", "regcore.cli.main", "worker"]).ready()
    message = request(tmp_path, {"init": ["none"], "refine": 0}, fixed=pair[0], moving=pair[1])
    assert worker.ask(message)["transform"]["linear"] is not None
    worker.close()
