"""What goes wrong with a worker, and that each time there is a plain sentence and the next registration works."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib.logic import Failure, Logic
from AttentionRegistrationLib.request import Request
from AttentionRegistrationLib.worker_client import WorkerClient
from regcore.grid import Grid

from .conftest import FAKE
from .scenes import EVERYTHING, Heard, add_volume, finish, pump

UNIX = pytest.mark.skipif(os.name == "nt", reason="signals and process groups of Unix")
MakeLogic = Callable[..., Logic]


@pytest.fixture
def pair(scene: Any, awkward_grids: dict[str, Grid]) -> tuple[Any, Any]:
    return add_volume(scene, awkward_grids["rotated"], "fixed"), add_volume(scene, awkward_grids["plain"], "moving")


@pytest.fixture(autouse=True)
def nothing_is_left(scene: Any, pair: tuple[Any, Any], temporary: Path) -> Iterator[None]:
    """After each test: no node of a failed registration, no file."""
    yield
    end = time.monotonic() + 5
    while list(temporary.iterdir()) and time.monotonic() < end:
        time.sleep(0.01)
    assert list(temporary.iterdir()) == []


def begin(logic: Logic, request: Request, until: Callable[[Heard], bool]) -> Heard:
    """Start a registration and poll until its listener has heard enough."""
    heard = Heard()
    logic.start(request, heard)
    pump(logic, lambda: until(heard) or not logic.busy)
    assert logic.busy, heard.failure
    return heard


def refining(heard: Heard) -> bool:
    return any(progress.stage == "refine" for progress in heard.progress)


def fails(logic: Logic, request: Request, count: int) -> Failure:
    """Run a registration that fails, and one that does not after it."""
    scene = request.fixed.GetScene()
    before = scene.GetNumberOfNodes()
    failure = finish(logic, request).failed
    assert scene.GetNumberOfNodes() == before
    assert failure.sentence.endswith(".")
    for _ in range(count):
        finish(logic, Request(request.fixed, request.moving)).done  # noqa: B018
    return failure


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not even a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def gone(pid: int, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not is_gone(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return is_gone(pid)


def pid_of(logic: Logic) -> int:
    pid = logic._client.pid
    assert pid is not None
    return pid


@UNIX
def test_a_crash_is_told_and_the_worker_comes_back(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    failure = fails(make_logic(), Request(*pair, model="crash"), 2)
    assert failure.code == "crash"
    assert failure.sentence == (
        "The registration engine crashed (exit code -6). Nothing was added to the scene. It was started anew."
    )
    assert "Fatal: it had to happen" in failure.details


@UNIX
@pytest.mark.parametrize("moment", ["registering", "idle", "greeting"])
def test_a_kill_is_told_and_the_worker_comes_back(make_logic: MakeLogic, pair: tuple[Any, Any], moment: str) -> None:
    logic = make_logic()
    if moment == "registering":
        heard = begin(logic, Request(*pair, model="slow"), refining)
        pid = pid_of(logic)
        os.kill(pid, signal.SIGKILL)
        pump(logic, lambda: not logic.busy)
        assert "killed from outside, most likely because memory ran out" in heard.failed.sentence
    else:
        logic.warm_up()
        if moment == "idle":
            pump(logic, lambda: logic.hello() is not None)
        pid = pid_of(logic)
        os.kill(pid, signal.SIGKILL)
        pump(logic, lambda: not logic._client.running)
    assert gone(pid)
    assert finish(logic, Request(*pair)).done


@UNIX
def test_a_worker_that_died_unnoticed_is_replaced(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic()
    logic.warm_up()
    pump(logic, lambda: logic.hello() is not None)
    pid = pid_of(logic)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert finish(logic, Request(*pair)).done


@UNIX
def test_a_worker_that_cannot_be_replaced_is_told(pair: tuple[Any, Any], tmp_path: Path) -> None:
    program = tmp_path / "worker"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" well\n')
    program.chmod(0o700)
    logic = Logic(WorkerClient([str(program)]))
    logic.warm_up()
    pump(logic, lambda: logic.hello() is not None)
    program.unlink()
    pid = pid_of(logic)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    failure = finish(logic, Request(*pair)).failed
    assert failure.sentence == "The registration engine could not be started. Nothing was added to the scene."
    logic.close()


@UNIX
def test_a_result_is_added_though_the_worker_has_died(
    make_logic: MakeLogic, pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("AttentionRegistrationLib.logic._BUDGET_S", 0.0)
    logic = make_logic()
    heard = begin(logic, Request(*pair), lambda _: logic._job is not None and logic._job.answer is not None)
    os.kill(pid_of(logic), signal.SIGKILL)
    assert gone(pid_of(logic))
    pump(logic, lambda: not logic.busy)
    assert heard.done


@UNIX
def test_a_worker_that_stands_still_is_stopped(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic(silence=0.3, ping=0.1)
    failure = fails(logic, Request(*pair, model="hang"), 1)
    assert failure.code == "hung"
    assert failure.sentence.startswith("The engine gave no sign of life for 0.3 seconds. It was stopped.")


def test_pings_keep_a_silent_worker_alive(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic(silence=2.0, ping=0.05)
    assert finish(logic, Request(*pair)).done


def test_a_worker_that_never_starts_is_stopped(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic("lazy", start=0.3)
    assert fails(logic, Request(*pair), 0).code == "hung"
    assert logic.hello() is None
    assert fails(logic, Request(*pair), 0).sentence.startswith("The registration engine did not start within 0.3 sec")


def test_a_worker_that_cannot_start_says_why(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    failure = fails(make_logic("stillborn"), Request(*pair), 0)
    assert failure.sentence.startswith("PyTorch is not installed in Slicer's Python yet.")


def test_a_program_that_is_not_there_is_told_at_once(pair: tuple[Any, Any], tmp_path: Path) -> None:
    logic = Logic(WorkerClient([str(tmp_path / "nothing")]))
    with pytest.raises(ValueError, match="The registration engine cannot be started: No such file"):
        logic.start(Request(*pair), Heard())
    assert not logic.busy


def test_another_version_of_the_protocol_is_refused(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    failure = fails(make_logic("old"), Request(*pair), 0)
    assert failure.code == "protocol"
    assert "install the extension again" in failure.sentence


def test_what_the_worker_refuses_is_passed_on(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    assert fails(make_logic(), Request(*pair, model="refuse"), 1) == Failure(
        "memory", "Memory ran out.", "a long story"
    )


def test_garbage_between_messages_does_no_harm(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    assert finish(make_logic(), Request(*pair, model="garbage")).done


@pytest.mark.parametrize(("mood", "word"), [("half", "half of field.npy"), ("outside", "outside its folder")])
def test_a_result_that_is_not_as_agreed_leaves_nothing(
    make_logic: MakeLogic, pair: tuple[Any, Any], mood: str, word: str
) -> None:
    failure = fails(make_logic(), Request(*pair, model=mood), 1)
    assert failure.code == "internal"
    assert word in failure.sentence


def test_cancel_stops_a_willing_worker_and_keeps_it(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic()
    heard = begin(logic, Request(*pair, model="slow"), refining)
    pid = pid_of(logic)
    logic.cancel()
    logic.cancel()
    pump(logic, lambda: not logic.busy, 2)
    assert heard.failed == Failure("cancelled", "Cancelled. Nothing was added to the scene.")
    assert finish(logic, Request(*pair)).done
    assert pid_of(logic) == pid


@UNIX
def test_cancel_kills_a_worker_that_does_not_listen(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic(cancel=0.2)
    heard = begin(logic, Request(*pair, model="deaf"), refining)
    pid = pid_of(logic)
    logic.cancel()
    pump(logic, lambda: not logic.busy, 2)
    assert heard.failed.sentence == (
        "Cancelled. Nothing was added to the scene. The engine did not stop within a second and was started anew."
    )
    assert gone(pid)
    assert finish(logic, Request(*pair)).done


@UNIX
def test_what_the_worker_started_dies_with_it(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic()
    heard = begin(logic, Request(*pair, model="child"), refining)
    child = int(heard.progress[-1].message)
    worker = pid_of(logic)
    os.kill(worker, signal.SIGKILL)
    pump(logic, lambda: not logic.busy)
    assert gone(worker)
    status = Path(f"/proc/{child}/stat")

    def dead() -> bool:
        # Nobody waits for the grandchild here: what is left of it is at most a zombie.
        try:
            return status.read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    # A signal takes a moment to arrive where the processor is busy.
    pump(logic, dead, 5)


@pytest.mark.parametrize("polls", [0, 1, 2, 3])
def test_cancel_before_the_worker_knows_is_at_once(make_logic: MakeLogic, pair: tuple[Any, Any], polls: int) -> None:
    logic = make_logic("lazy")
    heard = Heard()
    logic.start(Request(*pair), heard)
    for _ in range(polls):
        logic.poll()
    logic.cancel()
    logic.poll()
    assert heard.failed.code == "cancelled"
    assert not logic.busy


@pytest.mark.parametrize("how", ["cleared", "removed"])
@pytest.mark.parametrize("mood", ["slow", "deaf"])
def test_a_scene_that_is_closed_stops_the_registration(
    make_logic: MakeLogic, pair: tuple[Any, Any], scene: Any, how: str, mood: str
) -> None:
    logic = make_logic(cancel=0.1)
    heard = begin(logic, Request(*pair, model=mood), refining)
    if how == "cleared":
        scene.Clear(False)
    else:
        scene.RemoveNode(pair[1])
    before = scene.GetNumberOfNodes()
    pump(logic, lambda: not logic.busy, 2)
    role = "fixed" if how == "cleared" else "moving"
    assert heard.failed.code == "removed"
    assert heard.failed.sentence.startswith(f"The {role} volume was removed, so the registration was stopped.")
    assert scene.GetNumberOfNodes() == before


def test_cancel_while_nodes_are_made_takes_them_back(
    make_logic: MakeLogic, pair: tuple[Any, Any], scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("AttentionRegistrationLib.logic._BUDGET_S", 0.0)
    logic = make_logic()
    # Nodes of the scene itself, made once, do not count.
    finish(logic, Request(*pair, outputs=EVERYTHING)).done  # noqa: B018
    before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}
    for wanted in range(1, 8):
        heard = begin(
            logic, Request(*pair, outputs=EVERYTHING), lambda _, n=wanted: scene.GetNumberOfNodes() >= len(before) + n
        )
        logic.cancel()
        logic.poll()
        assert heard.failed.code == "cancelled"
        assert {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")} == before


def test_one_registration_at_a_time(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic()
    begin(logic, Request(*pair, model="slow"), refining)
    with pytest.raises(ValueError, match="A registration is under way"):
        logic.start(Request(*pair), Heard())


@UNIX
def test_closing_ends_everything_within_a_second(make_logic: MakeLogic, pair: tuple[Any, Any]) -> None:
    logic = make_logic()
    heard = begin(logic, Request(*pair, model="deaf"), refining)
    pid, began = pid_of(logic), time.monotonic()
    logic.close()
    assert time.monotonic() - began < 3
    assert is_gone(pid)
    assert heard.ends == 0
    assert not logic.busy


@UNIX
def test_folders_of_ended_programs_are_removed(temporary: Path, make_logic: MakeLogic) -> None:
    ended = os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", ""])
    assert ended == 0
    process = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", ""])
    os.waitpid(process, 0)
    for pid in (process, os.getpid()):
        (temporary / f"AttentionRegistration-{pid}-abc").mkdir()
        (temporary / f"AttentionRegistration-{pid}-abc" / "fixed.npy").touch()
    make_logic()
    assert [folder.name for folder in temporary.iterdir()] == [f"AttentionRegistration-{os.getpid()}-abc"]
    (temporary / f"AttentionRegistration-{os.getpid()}-abc" / "fixed.npy").unlink()
    (temporary / f"AttentionRegistration-{os.getpid()}-abc").rmdir()


def test_the_folder_is_for_this_user_alone(make_logic: MakeLogic, pair: tuple[Any, Any], temporary: Path) -> None:
    logic = make_logic()
    begin(logic, Request(*pair, model="slow"), refining)
    (folder,) = temporary.iterdir()
    assert os.name == "nt" or folder.stat().st_mode & 0o077 == 0
    assert {file.name for file in folder.iterdir()} == {"fixed.npy", "moving.npy"}
