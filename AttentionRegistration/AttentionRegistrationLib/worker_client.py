"""The worker as a process: started, spoken to in JSON lines, killed with everything it started. No Qt, no Slicer."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

Message = dict[str, Any]
T = TypeVar("T")

# What a piece of work yields: whether it can go on at once or waits for something.
MORE, WAIT = True, False

_STDERR_LINES = 200
_FAREWELL_S = 1.0
_SMALL = 16 << 20  # bytes
_PATIENCE_S = 0.01  # what is small is done by then, and needs no second look
_PREFIX = "AttentionRegistration-"


class PrivateFolder:
    """A folder for the arrays of one registration that only this user can read; `remove` it afterwards."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._users: list[threading.Thread] = []

    def work(self, task: Callable[[], T], size: int) -> Generator[bool, None, T]:
        """Run ``task``, which reads or writes ``size`` bytes in the folder, in a thread; yield until it is done."""
        ended = threading.Event()
        results: list[T] = []
        errors: list[Exception] = []

        def run() -> None:
            try:
                results.append(task())
            except Exception as error:
                errors.append(error)
            ended.set()

        self._users.append(start_thread(run))
        # A thread that waits for a busy one may get its core back late, so only for what is small.
        ended.wait(_PATIENCE_S if size < _SMALL else 0)
        while not ended.is_set():
            yield WAIT
        if errors:
            raise errors[0]
        return results[0]

    def remove(self) -> threading.Thread:
        """Delete it in a thread, once no other thread uses it."""
        return start_thread(self._remove)

    def _remove(self) -> None:
        for user in self._users:
            user.join()
        shutil.rmtree(self.path, ignore_errors=True)


def remove_stale_folders() -> None:
    """Delete the private folders of programs that have ended without doing so."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        number = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not _lives(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


class WorkerClient:
    """One worker process at a time; nothing here waits for it.

    Threads only move bytes between pipes and queues, so `poll` is all that a caller has to ask. Besides the worker's
    own messages it hands over one ``{"type": "exit", "code": .., "details": ..}`` for each process that has ended.

    Args:
        command: program and arguments.
        environment: of the process; None: this process' own.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._environment = None if environment is None else dict(environment)
        self._process: _Process | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process, as far as `poll` has told."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return None if self._process is None else self._process.pid

    @property
    def details(self) -> str:
        """The last lines of what the process said that was no message."""
        return "" if self._process is None else self._process.tail()

    def start(self) -> None:
        """Start the process unless there is one.

        Raises:
            OSError: the program cannot be started.
        """
        if self._process is None:
            self._process = _Process(self._command, self._environment)

    def send(self, message: Message) -> None:
        """Hand a message over; a worker that has ended gets none, and `poll` says that it has."""
        if self._process is not None:
            self._process.outbox.put(message)

    def poll(self) -> list[Message]:
        """Return what has come since the last call."""
        messages: list[Message] = []
        while self._process is not None:
            try:
                messages.append(self._process.inbox.get_nowait())
            except queue.Empty:
                break
            if messages[-1]["type"] == "exit":
                self._process = None
        return messages

    def kill(self) -> None:
        """Kill the process and all it started, and forget it: it sends no more messages, not even ``exit``."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Ask the worker to leave; kill it when it has not done so within a second."""
        process, self._process = self._process, None
        if process is not None:
            process.outbox.put({"type": "shutdown"})
            process.outbox.put(None)
            if not process.ended.wait(_FAREWELL_S):
                process.kill()
            process.ended.wait(_FAREWELL_S)


class _Process:
    """A running worker: three threads on its pipes, and one that waits for its end so that no zombie is left."""

    def __init__(self, command: list[str], environment: dict[str, str] | None) -> None:
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.ended = threading.Event()
        self._dead = threading.Event()
        self._tail: deque[str] = deque(maxlen=_STDERR_LINES)
        pipe = subprocess.PIPE
        # A session of its own: the number of the process is then that of the group of all it starts.
        own_group: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | _no_window()}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        self._popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, **own_group)
        self.pid = self._popen.pid
        to_worker, messages, errors = self._popen.stdin, self._popen.stdout, self._popen.stderr
        self._readers = [start_thread(self._read_messages, messages), start_thread(self._read_errors, errors)]
        start_thread(self._write, to_worker)
        start_thread(self._wait)

    def tail(self) -> str:
        return "\n".join(list(self._tail))

    def kill(self) -> None:
        if not self._dead.is_set():
            _kill_tree(self._popen.pid)

    def _read_messages(self, pipe: IO[bytes]) -> None:
        for line in _lines(pipe):
            text = line.decode("utf-8", "replace").strip()
            message = _parsed(text)
            if message is not None:
                self.inbox.put(message)
            elif text:
                self._tail.append(text[:500])

    def _read_errors(self, pipe: IO[bytes]) -> None:
        for line in _lines(pipe):
            self._tail.append(line.decode("utf-8", "replace").rstrip()[:500])

    def _write(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (message := self.outbox.get()) is not None:
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()

    def _wait(self) -> None:
        if hasattr(os, "waitid"):
            # While it is a zombie its number stays its own: the group can be killed without hitting a stranger.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
            self._dead.set()
            _kill_tree(self._popen.pid)
        code = self._popen.wait()
        self._dead.set()
        self.outbox.put(None)
        for reader in self._readers:
            reader.join(timeout=_FAREWELL_S)
        self.inbox.put({"type": "exit", "code": code, "details": self.tail()})
        self.ended.set()


def _parsed(text: str) -> Message | None:
    """Return the message of a line, or None for a line that is none: a library may have printed it."""
    try:
        message = json.loads(text)
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None


def _lines(pipe: IO[bytes]) -> Iterator[bytes]:
    with contextlib.suppress(OSError, ValueError), pipe:
        yield from pipe


def start_thread(work: Callable[..., None], *arguments: object) -> threading.Thread:
    """Run ``work`` in a thread that does not keep the program alive."""
    thread = threading.Thread(target=work, args=arguments, name="AttentionRegistration worker", daemon=True)
    thread.start()
    return thread


def _kill_tree(pid: int) -> None:
    if os.name == "nt":
        command = ["taskkill", "/F", "/T", "/PID", str(pid)]
        subprocess.run(command, capture_output=True, check=False, creationflags=_no_window())
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    if os.name == "nt":
        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
        handle = kernel.OpenProcess(0x1000, False, pid)  # the right to ask no more than whether it is there
        kernel.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _no_window() -> int:
    return int(getattr(subprocess, "CREATE_NO_WINDOW", 0))
