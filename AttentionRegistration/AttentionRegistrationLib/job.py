"""One registration on its way: inputs copied, sent, waited for, results added; each a small piece of work."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AttentionRegistrationLib import nodes_input, results
from AttentionRegistrationLib.events import Failure, Listener, refusal
from AttentionRegistrationLib.nodes import Array
from AttentionRegistrationLib.request import Request, message
from AttentionRegistrationLib.worker_client import WAIT, Message, PrivateFolder

Adder = Callable[[Message, PrivateFolder, Request, nodes_input.Inputs], Generator[bool, None, Any]]


class Stopped(Exception):  # noqa: N818
    """The worker has refused; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.sentence)
        self.failure = failure


@dataclass
class Job:
    """A registration; times are those of `time.monotonic`.

    Attributes:
        identifier: in messages.
        request: what was asked.
        listener: who is told.
        inputs: what the request's nodes hold.
        began: when it was started.
        add: makes nodes of the worker's result; what it returns is the outcome.
        steps: what is left to do; see `work`.
        sent: when the worker was asked; None: not yet.
        heard: when the worker last gave a sign of life.
        pinged: when it was last asked for one.
        answer: its result or error.
        news: progress that the listener has not heard of.
        why: what it is to stop for.
        until: when it stops, whatever the worker does.
    """

    identifier: str
    request: Request
    listener: Listener
    inputs: nodes_input.Inputs
    began: float
    add: Adder = results.add
    steps: Generator[bool, None, Any] | None = None
    sent: float | None = None
    heard: float = 0.0
    pinged: float = 0.0
    answer: Message | None = None
    news: Message | None = None
    why: Failure | None = None
    until: float = 0.0

    @property
    def waits(self) -> bool:
        """Whether the worker is at it."""
        return self.sent is not None and self.answer is None


def work(job: Job, is_ready: Callable[[], bool], send: Callable[[Message], None]) -> Generator[bool, None, Any]:
    """Do a registration piece by piece; its private folder is removed at the end, however that comes.

    Args:
        job: what to do; its ``answer`` is set from outside.
        is_ready: whether the worker has said hello.
        send: hands a message to it.

    Raises:
        Stopped: the worker refused.
    """
    folder = PrivateFolder()
    try:
        job.news = _stage(0.0, "preparing", "Copying the volumes")
        copies = yield from nodes_input.copied(job.request, job.inputs)
        size = sum(array.nbytes for array in copies.values())
        yield from folder.work(lambda: _write(folder.path, copies), size)
        copies.clear()
        if not is_ready():
            job.news = _stage(0.0, "preparing", "Starting the engine")
        while not is_ready():
            yield WAIT
        volumes, points = job.inputs.messages(), job.inputs.points
        job.sent = job.heard = job.pinged = time.monotonic()
        send(message(job.identifier, str(folder.path), job.request, volumes, dict(points)))
        while job.answer is None:
            yield WAIT
        if job.answer["type"] == "error":
            raise Stopped(refusal(job.answer))
        job.news = _stage(1.0, "finishing", "Adding the results to the scene")
        job.answer["notes"] = [*job.inputs.notes, *(job.answer.get("notes") or ())]
        return (yield from job.add(job.answer, folder, job.request, job.inputs))
    finally:
        folder.remove()


def _stage(fraction: float, stage: str, text: str) -> Message:
    return {"fraction": fraction, "stage": stage, "message": text}


def _write(folder: Path, arrays: dict[str, Array]) -> None:
    for role, array in arrays.items():
        np.save(folder / f"{role}.npy", array, allow_pickle=False)
