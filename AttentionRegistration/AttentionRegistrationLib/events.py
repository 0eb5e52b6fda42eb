"""What a registration's listener is told, and the sentences for what may go wrong."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from AttentionRegistrationLib.wording import in_panel
from AttentionRegistrationLib.worker_client import Message

UNCHANGED = "Nothing was added to the scene."


@dataclass(frozen=True)
class Hello:
    """What the worker can do: versions, and devices, models and presets as the protocol describes them."""

    version: str
    torch: str
    devices: list[dict[str, Any]]
    device_note: str
    models: list[dict[str, Any]]
    presets: list[dict[str, Any]]


@dataclass(frozen=True)
class Progress:
    """How far a registration is: a share of 1, and the seconds since it was started."""

    fraction: float
    stage: str
    message: str
    memory_mb: float | None
    seconds: float


@dataclass(frozen=True)
class Failure:
    """Why there is no result.

    Attributes:
        code: ``bad_input``, ``memory``, ``device``, ``cancelled``, ``protocol`` or ``internal`` as the worker has them;
            ``crash``: it ended; ``hung``: it gave no sign of life; ``removed``: a volume left the scene.
        sentence: for the user.
        details: for whoever wants to know more.
    """

    code: str
    sentence: str
    details: str = ""


class RegistrationError(RuntimeError):
    """A registration that failed; its text is the sentence, `failure` has the rest."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.sentence)
        self.failure = failure


class Listener(Protocol):
    """Who is told; exactly one of `on_done` and `on_failed` is called, once."""

    def on_progress(self, progress: Progress) -> None:
        """Called by `Logic.poll` whenever there is news."""

    def on_done(self, outcome: Any) -> None:
        """Called when all nodes are in the scene, with an `Outcome` or what takes its place."""

    def on_failed(self, failure: Failure) -> None:
        """Called when there is no result; the scene is as it was."""


class Collector:
    """A listener that keeps how a registration ended, for scripts."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self.outcome: Any = None
        self.failure = Failure("internal", "The registration ended without a word.")
        self._on_progress = on_progress

    def on_progress(self, progress: Progress) -> None:
        """Pass it on."""
        if self._on_progress is not None:
            self._on_progress(progress)

    def on_done(self, outcome: Any) -> None:
        """Keep the outcome."""
        self.outcome = outcome

    def on_failed(self, failure: Failure) -> None:
        """Keep the failure."""
        self.failure = failure


def hello_of(received: Message) -> Hello:
    """Return the worker's greeting, what it left out being empty."""
    return Hello(
        str(received.get("version") or ""),
        str(received.get("torch") or ""),
        received.get("devices") or [],
        str(received.get("device_note") or ""),
        received.get("models") or [],
        received.get("presets") or [],
    )


def progress_of(received: Message, seconds: float) -> Progress:
    """Return the worker's progress, ``seconds`` after the start."""
    fraction = min(1.0, max(0.0, float(received.get("fraction") or 0.0)))
    stage, text = str(received.get("stage") or ""), str(received.get("message") or "")
    return Progress(fraction, stage, text, received.get("memory_mb"), seconds)


def refusal(answer: Message) -> Failure:
    """Return the failure that the worker reports."""
    sentence = in_panel(str(answer.get("sentence") or "The engine gave no reason."))
    return Failure(str(answer.get("code") or "internal"), sentence, str(answer.get("details") or ""))


def crash(code: int, details: str, was_ready: bool) -> Failure:
    """Say in a sentence how the worker ended."""
    if "No module named 'torch'" in details:
        return Failure("crash", f"PyTorch is not installed in Slicer's Python yet. {UNCHANGED}", details)
    if not was_ready:
        what = f"The registration engine could not be started (exit code {code}); the details say why."
    elif code in (-9, 137):
        what = "The registration engine was killed from outside, most likely because memory ran out."
    else:
        what = f"The registration engine crashed (exit code {code})."
    return Failure("crash", f"{what} {UNCHANGED}" + (" It was started anew." if was_ready else ""), details)


def unexpected(error: Exception) -> Failure:
    """Return the failure of an error on this side of the pipe."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, OSError):
        where = f"A temporary file could not be written or read ({error.strerror or error})"
        return Failure("internal", f"{where}; free some space on the disk. {UNCHANGED}", details)
    if isinstance(error, MemoryError):
        return Failure("memory", f"Memory ran out while the results were added. {UNCHANGED}", details)
    return Failure("internal", f"The result could not be added to the scene: {error}. {UNCHANGED}", details)
