"""The worker kept warm: started when it is first needed, and anew when it ends or has to be ended."""

from __future__ import annotations

import contextlib
import time

from AttentionRegistrationLib.events import Hello, hello_of
from AttentionRegistrationLib.worker_client import Message, WorkerClient

_PROTOCOL = 1


class WarmWorker:
    """One worker process after the other.

    Args:
        client: starts it and talks with it.

    Attributes:
        ready: whether it has said hello.
        hello: what it said when it last started; None before that.
    """

    def __init__(self, client: WorkerClient) -> None:
        self._client = client
        self._started = 0.0
        self.ready = False
        self.hello: Hello | None = None

    def start(self) -> None:
        """Start it unless it runs.

        Raises:
            OSError: it cannot be started.
        """
        if not self._client.running:
            self.ready = False
            self._started = time.monotonic()
            self._client.start()

    def start_anew(self) -> None:
        """Start it after it has ended; if that fails, the registration at hand or the next one says what is wrong."""
        with contextlib.suppress(OSError):
            self.start()

    def greeted(self, received: Message) -> bool:
        """Take its hello; False: it is of another version than the module, and was ended."""
        if received.get("protocol") != _PROTOCOL:
            self._client.kill()
            return False
        self.ready, self.hello = True, hello_of(received)
        return True

    def gone(self) -> bool:
        """It has ended by itself; return whether it had been ready."""
        was_ready, self.ready = self.ready, False
        return was_ready

    def replace(self) -> None:
        """End it, and start another unless it had not even said hello."""
        was_ready = self.gone()
        self._client.kill()
        if was_ready:
            self.start_anew()

    def close(self) -> None:
        """End it for good."""
        self.ready = False
        self._client.close()

    def waited(self, since: float) -> float:
        """Return the seconds since its start, or since the later time ``since``."""
        return time.monotonic() - max(self._started, since)
