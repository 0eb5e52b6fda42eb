"""Registrations as Slicer sees them: started, polled by a timer, cancelled. No window, no thread of its own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from AttentionRegistrationLib import compat, nodes_input, results
from AttentionRegistrationLib.events import (
    UNCHANGED,
    Collector,
    Failure,
    Hello,
    Listener,
    Progress,
    RegistrationError,
    crash,
    progress_of,
    unexpected,
)
from AttentionRegistrationLib.job import Adder, Job, Stopped, work
from AttentionRegistrationLib.request import Node, Outputs, Request
from AttentionRegistrationLib.results import Outcome
from AttentionRegistrationLib.warm_worker import WarmWorker
from AttentionRegistrationLib.worker_client import MORE, Message, WorkerClient, remove_stale_folders

__all__ = [
    "Failure",
    "Hello",
    "Limits",
    "Listener",
    "Logic",
    "Outcome",
    "Progress",
    "RegistrationError",
    "register_volumes",
]

_BUDGET_S = 0.02  # of one poll, for work that can go on at once


@dataclass(frozen=True)
class Limits:
    """Seconds to wait: for a worker to start, between signs of life, after a cancel; and from ping to ping."""

    start: float = 180.0
    silence: float = 90.0
    cancel: float = 1.0
    ping: float = 5.0


class Logic:
    """One worker, kept warm, and at most one registration at a time.

    Args:
        client: in the place of the engine's own worker.
        limits: how long to wait for it.
    """

    def __init__(self, client: WorkerClient | None = None, limits: Limits | None = None) -> None:
        self._client = client or WorkerClient(compat.worker_command(), compat.worker_environment())
        self._worker = WarmWorker(self._client)
        self._limits = limits or Limits()
        self._numbers = itertools.count(1)
        self._job: Job | None = None
        self._polling = False
        remove_stale_folders()

    @property
    def busy(self) -> bool:
        """Whether a registration is under way."""
        return self._job is not None

    def hello(self) -> Hello | None:
        """Return what the worker said of itself when it last started; None before that."""
        return self._worker.hello

    def warm_up(self) -> None:
        """Start the worker, so that `hello` soon knows and the first registration need not wait.

        Raises:
            OSError: it cannot be started.
        """
        self._worker.start()

    def start(self, request: Request, listener: Listener, add: Adder = results.add) -> None:
        """Begin a registration; `poll` does the rest.

        Args:
            request: what to do.
            listener: who is told.
            add: makes the outcome of the worker's result.

        Raises:
            ValueError: one is under way, or the request cannot be registered; the sentence says why.
        """
        if self._job is not None:
            raise ValueError("A registration is under way; wait for it or cancel it.")
        inputs = nodes_input.read(request)
        job = Job(str(next(self._numbers)), request, listener, inputs, time.monotonic(), add)
        job.steps = work(job, lambda: self._worker.ready, self._client.send)
        try:
            self.warm_up()
        except OSError as error:
            raise ValueError(f"The registration engine cannot be started: {error.strerror or error}.") from error
        self._job = job

    def poll(self) -> None:
        """Do a little of what there is to do; call it every 50 ms or so, in the thread of the scene."""
        if self._polling:
            return
        self._polling = True
        try:
            for received in self._client.poll():
                self._receive(received)
            if self._job is not None:
                self._advance(self._job)
        finally:
            self._polling = False

    def cancel(self) -> None:
        """Stop the registration; its listener is told within about a second."""
        if self._job is not None:
            self._stop(self._job, Failure("cancelled", f"Cancelled. {UNCHANGED}"))

    def close(self) -> None:
        """End the worker and whatever is under way; nobody is told."""
        job, self._job = self._job, None
        if job is not None and job.steps is not None:
            job.steps.close()
        self._worker.close()

    def register(self, request: Request, on_progress: Callable[[Progress], None] | None = None) -> Outcome:
        """Register and wait for it: for scripts.

        Raises:
            ValueError: the request cannot be registered.
            RegistrationError: it failed.
        """
        listener = Collector(on_progress)
        self.start(request, listener)
        outcome: Outcome = self.wait(listener)
        return outcome

    def wait(self, listener: Collector) -> Any:
        """Poll until nothing is under way any more; return the outcome.

        Raises:
            RegistrationError: there is none.
        """
        try:
            while self.busy:
                self.poll()
                time.sleep(0.005)
        except BaseException:
            self.close()
            raise
        if listener.outcome is None:
            raise RegistrationError(listener.failure)
        return listener.outcome

    def _receive(self, received: Message) -> None:
        job, kind, now = self._job, received["type"], time.monotonic()
        if kind == "hello":
            self._greet(received)
        elif kind == "exit":
            self._gone(received)
        if job is None:
            return
        job.heard = now
        if received.get("id") not in (None, job.identifier) or job.sent is None:
            return
        if kind == "progress":
            job.news = received
        elif kind in ("result", "error"):
            job.answer = received

    def _greet(self, received: Message) -> None:
        if not self._worker.greeted(received):
            self._fail("protocol", "The engine is of another version than the module; install the extension again.")

    def _gone(self, received: Message) -> None:
        """The worker has ended by itself: start another unless it could not even start; say so where it was missed."""
        was_ready, job = self._worker.gone(), self._job
        if job is None:
            return
        if job.why is not None:
            job.until = 0.0
        elif job.waits or (job.answer is None and not was_ready):
            job.why = crash(int(received["code"]), received["details"], was_ready)
        if was_ready:
            self._worker.start_anew()

    def _fail(self, code: str, sentence: str) -> None:
        if self._job is not None:
            self._job.why, self._job.until = Failure(code, f"{sentence} {UNCHANGED}", self._client.details), 0.0

    def _stop(self, job: Job, why: Failure) -> None:
        """Ask for an end: at once where the worker has nothing to do with it, else it has a second."""
        if job.why is not None:
            return
        job.why, now = why, time.monotonic()
        job.until = now
        if job.waits:
            self._client.send({"type": "cancel", "id": job.identifier})
            job.until = now + self._limits.cancel

    def _advance(self, job: Job) -> None:
        self._look_after(job)
        if job.why is not None:
            if job.answer is not None or time.monotonic() >= job.until:
                self._end(job)
            return
        if job.news is not None:
            news, job.news = job.news, None
            job.listener.on_progress(progress_of(news, time.monotonic() - job.began))
        try:
            self._go_on(job)
        except StopIteration as done:
            self._job = None
            job.listener.on_done(done.value)
        except Stopped as stopped:
            job.why = stopped.failure
            self._end(job)
        except Exception as error:
            job.why = unexpected(error)
            self._end(job)

    def _go_on(self, job: Job) -> None:
        assert job.steps is not None
        until = time.monotonic() + _BUDGET_S
        while next(job.steps) is MORE and time.monotonic() < until:
            pass

    def _look_after(self, job: Job) -> None:
        """Find out whether the scene and the worker are still there."""
        now, limits = time.monotonic(), self._limits
        for role, node in (("fixed", job.request.fixed), ("moving", job.request.moving)):
            if node.GetScene() is None:
                self._stop(job, Failure("removed", f"The {role} volume was removed, so the registration was stopped."))
        if job.why is not None:
            return
        starting = not self._worker.ready and job.answer is None
        if starting and not self._client.running:
            self._fail("crash", "The registration engine could not be started.")
        elif starting and self._worker.waited(job.began) > limits.start:
            self._kill(job, "hung", f"The registration engine did not start within {limits.start:g} seconds.")
        elif job.waits:
            if now - job.heard > limits.silence:
                self._kill(job, "hung", f"The engine gave no sign of life for {limits.silence:g} seconds.")
            elif now - job.pinged > limits.ping:
                job.pinged = now
                self._client.send({"type": "ping"})

    def _kill(self, job: Job, code: str, sentence: str) -> None:
        job.why = Failure(code, f"{sentence} It was stopped. {UNCHANGED}", self._client.details)
        job.until = 0.0
        self._worker.replace()

    def _end(self, job: Job) -> None:
        """Tell the listener why; a worker that did not stop when asked is killed and another started."""
        why = job.why
        assert why is not None
        assert job.steps is not None
        if job.waits and self._client.running and self._worker.ready:
            said = f"{why.sentence} The engine did not stop within a second and was started anew."
            why = Failure(why.code, said, self._client.details)
            self._worker.replace()
        self._job = None
        job.steps.close()
        job.listener.on_failed(why)


def register_volumes(
    fixed: Node,
    moving: Node,
    logic: Logic | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    inverse: bool = False,
    jacobian: bool = True,
    attention: bool = False,
    **options: Any,
) -> Outcome:
    """Register two volumes of the scene and wait for it: for scripts, on the same path as the panel.

    Args:
        fixed: volume node on whose grid the results lie.
        moving: volume node to bring onto it.
        logic: whose worker is warm; by default one of its own, ended afterwards.
        on_progress: called with every `Progress`.
        inverse: also make the transform back.
        jacobian: also make the map of local volume change.
        attention: also make the attention maps.
        **options: any other field of `Request`, as in ``preset="brain-mri"`` or ``fixed_mask=node``.

    Raises:
        ValueError: the volumes or the options cannot be registered.
        RegistrationError: the registration failed.
    """
    request = Request(fixed, moving, **options, outputs=Outputs(inverse, jacobian, attention))
    if logic is not None:
        return logic.register(request, on_progress)
    own = Logic()
    try:
        return own.register(request, on_progress)
    finally:
        own.close()
