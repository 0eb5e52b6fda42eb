"""A worker as a real process, spoken to as a client does."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

PATIENCE = 60.0  # seconds: machines that test are busy
FAULTY = Path(__file__).with_name("faulty_worker.py")


class Worker:
    """A process with the worker in it.

    Args:
        command: what starts it; by default the worker with networks that fail in all ways.
        environment: variables in addition to this process' own.
    """

    def __init__(self, command=(sys.executable, str(FAULTY)), environment=None):
        variables = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=pipe, env=variables)
        self.lines: list[bytes] = []
        self._messages: queue.Queue = queue.Queue()
        self._said: list[bytes] = []
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._hear)]
        for thread in self._threads:
            thread.start()
        self.hello = None

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self._messages.put(json.loads(line))
        self._messages.put(None)

    def _hear(self):
        for line in self.process.stderr:
            self._said.append(line)

    def ready(self):
        """Wait for the hello."""
        self.hello = self.receive()
        assert self.hello["type"] == "hello"
        return self

    def send(self, message):
        """Send a message, or bytes as they are."""
        self.process.stdin.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self):
        """Return the next message; None: the worker has closed its side."""
        return self._messages.get(timeout=PATIENCE)

    def answer(self, kind=("result", "error", "pong")):
        """Return the next message of a kind, and the progress before it."""
        before = []
        while (message := self.receive()) is not None and message["type"] not in kind:
            before.append(message)
        return message, before

    def ask(self, message):
        """Send a message and return what it is answered with."""
        self.send(message)
        return self.answer()[0]

    def ended(self):
        """Wait for the end; return the exit code."""
        code = self.process.wait(timeout=PATIENCE)
        for thread in self._threads:
            thread.join(timeout=PATIENCE)
        return code

    @property
    def said(self):
        """What it wrote to standard error, once it has ended."""
        return b"".join(self._said).decode()

    def close(self):
        """End it."""
        self.process.stdin.close()
        self.ended()
        self.process.stdout.close()
        self.process.stderr.close()


def volume(folder, name, image):
    """Write an image's array; return it as a message names it."""
    np.save(folder / f"{name}.npy", image.data.numpy())
    grid = image.grid
    return {"array": f"{name}.npy", "spacing": grid.spacing, "origin": grid.origin, "direction": grid.direction}


def request(folder, settings=None, outputs=None, id="1", **volumes):
    """Return a ``register`` message; images are written, anything else is passed on as it is."""
    parts = {name: volume(folder, name, value) if hasattr(value, "grid") else value for name, value in volumes.items()}
    return {
        "type": "register",
        "id": id,
        "folder": str(folder),
        "settings": settings or {},
        "outputs": outputs or {},
        **parts,
    }
