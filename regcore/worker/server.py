"""The worker's loop: one thread reads messages, one tells progress, the main thread registers."""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from regcore.checks import DeviceError
from regcore.heap import keep_freed_memory
from regcore.io import silence_itk
from regcore.progress import CancelCheck, Cancelled, Progress
from regcore.weights import forget_models, keep_models
from regcore.worker import job
from regcore.worker.devices import hello
from regcore.worker.memory import free_memory, is_exhausted, used_mb
from regcore.worker.pipes import lines, write_all
from regcore.worker.protocol import (
    Cancel,
    Code,
    Error,
    Outgoing,
    Ping,
    Pong,
    Refused,
    Register,
    Result,
    Shutdown,
    encode,
    parse,
)
from regcore.worker.protocol import Progress as Told
from regcore.worker.volumes import unfinished

Job = Callable[[Register, Progress, CancelCheck], Result]

_TICK_S = 0.1
_QUIET_TICKS = 4  # after so many, progress is told again though nothing has changed

_MUCH_MB = 1500  # what is kept for the next registration, so that it starts at once

_NO_MEMORY = "There is too little memory for these volumes: crop them or make their voxels larger."
_GPU_FAILED = "The GPU failed: choose the CPU, or start again."


def serve(source: int, sink: int, work: Job = job.run) -> int:
    """Answer messages until the client closes the pipe or says shutdown.

    Args:
        source: descriptor that messages come from.
        sink: descriptor that answers go to.
        work: what a registration is.

    Returns:
        The exit code, 0.
    """
    keep_freed_memory()
    silence_itk()
    keep_models()
    return _Server(source, sink, work).run()


@dataclass
class _Running:
    """The registration at hand, and what was last told of it."""

    request: Register
    stop: threading.Event = field(default_factory=threading.Event)
    told: tuple[float, str, str] = (0.0, "waiting", "")

    def progress(self, fraction: float, stage: str, message: str) -> None:
        self.told = (fraction, stage, message)


class _Server:
    def __init__(self, source: int, sink: int, work: Job) -> None:
        self._source, self._sink, self._work = source, sink, work
        self._requests: queue.SimpleQueue[_Running] = queue.SimpleQueue()
        self._running: _Running | None = None
        self._lock = threading.Lock()  # of what is running, and of the pipe

    def run(self) -> int:
        parent = os.getppid()
        for target in (self._listen, lambda: self._tick(parent)):
            threading.Thread(target=target, daemon=True).start()
        self._send(hello())
        while True:
            running = self._requests.get()
            answer = self._answer(running)
            with self._lock:
                # Free before the answer is out: the next request may follow it at once.
                self._running = None
                self._put(answer)
            del running, answer
            if (used_mb() or 0) > _MUCH_MB:
                free_memory()

    def _answer(self, running: _Running) -> bytes:
        """Return the line that ends a registration, whatever becomes of it."""
        request = running.request
        try:
            return encode(self._work(request, running.progress, running.stop.is_set))
        except Refused as refused:
            return encode(Error(request.id, refused.code, refused.sentence))
        except Exception as error:
            code, sentence = _verdict(error)
            answer = Error(request.id, code, _private(sentence, request.folder), _details(error, request.folder))
            traceback.clear_frames(error.__traceback__)
        if answer.code in ("memory", "device"):
            forget_models()
        if answer.code in ("memory", "device", "cancelled"):
            free_memory()
        return encode(answer)

    def _listen(self) -> None:
        for line in lines(self._source):
            try:
                message = parse(line)
            except Refused as refused:
                self._send(Error(refused.id, refused.code, refused.sentence))
                continue
            if isinstance(message, Shutdown):
                break
            if isinstance(message, Ping):
                self._send(Pong(self._running is not None))
            elif isinstance(message, Cancel):
                self._cancel(message.id)
            else:
                self._accept(message)
        _leave()

    def _accept(self, request: Register) -> None:
        with self._lock:
            if self._running is not None:
                self._write(Error(request.id, "protocol", "The worker is busy: one registration at a time."))
                return
            self._running = _Running(request)
            self._requests.put(self._running)

    def _cancel(self, identifier: str) -> None:
        with self._lock:
            if self._running is not None and self._running.request.id == identifier:
                self._running.stop.set()

    def _tick(self, parent: int) -> None:
        """Tell progress when it has changed, and from time to time; leave when the parent is gone."""
        last, quiet = None, 0
        while os.getppid() == parent:
            time.sleep(_TICK_S)
            with self._lock:
                running = self._running
                now = None if running is None else (running, running.told)
                quiet = 0 if now != last else quiet + 1
                if running is not None and quiet % _QUIET_TICKS == 0:
                    self._write(Told(running.request.id, *running.told, used_mb()))
            last = now
            del running, now
        _leave()

    def _send(self, message: Outgoing) -> None:
        with self._lock:
            self._write(message)

    def _write(self, message: Outgoing) -> None:
        self._put(encode(message))

    def _put(self, line: bytes) -> None:
        try:
            write_all(self._sink, line)
        except OSError:
            _leave()


def _leave() -> None:
    """End the process now, in the middle of whatever it does."""
    unfinished.remove()
    os._exit(0)


def _verdict(error: Exception) -> tuple[Code, str]:
    """Return which code an error has, and what to say to a user."""
    said = " ".join(str(error).split())
    if isinstance(error, Cancelled):
        return "cancelled", "The registration was cancelled."
    if is_exhausted(error):
        return "memory", _NO_MEMORY
    if isinstance(error, DeviceError):
        return "device", said
    if isinstance(error, ValueError):
        return "bad_input", said
    if isinstance(error, RuntimeError) and "CUDA" in said:
        return "device", _GPU_FAILED
    return "internal", f"Something went wrong inside the registration ({type(error).__name__}): please report it."


def _details(error: Exception, folder: Path) -> str:
    """Return where an error arose and what it says, without what the files hold or where they are."""
    if isinstance(error, Cancelled):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"  {_place(frame.filename)}, line {frame.lineno}, in {frame.name}" for frame in frames]
    said = f"{type(error).__name__}: {str(error)[:1000]}"
    return _private("\n".join([*where, said, f"torch {torch.__version__}"]), folder)


def _place(file_name: str) -> str:
    parts = Path(file_name).parts
    known = [number for number, part in enumerate(parts) if part in ("regcore", "site-packages", "dist-packages")]
    return "/".join(parts[known[-1] :] if known else parts[-1:])


def _private(text: str, folder: Path) -> str:
    """Return ``text`` without the place of the files: it may carry a name."""
    for place in {str(folder), str(folder.resolve())}:
        text = text.replace(place, "the folder")
    return text
