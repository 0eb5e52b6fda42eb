"""A session of MRI and ultrasound: registers again when the ultrasound changes, keeps a history, moves targets.

No window and no timer of its own: whoever polls `Logic` polls this too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import slicer
import vtk

from AttentionRegistrationLib import session_carry
from AttentionRegistrationLib.request import Node
from AttentionRegistrationLib.session_entry import OUTDATED, entry_of, nodes_of
from AttentionRegistrationLib.session_request import look_of, missing, outline_time, request_of
from AttentionRegistrationLib.session_state import (
    ACCEPTED,
    OPEN,
    REJECTED,
    TRUS,
    TRUS_GLAND,
    State,
)

_UNSEEN = object()


@dataclass(frozen=True)
class Waits:
    """Seconds: how long the ultrasound must be still, how long it is waited for at most; and results kept as nodes."""

    quiet_s: float = 0.2
    longest_s: float = 2.0
    kept: int = 8


class Session:
    """What the tab does, for the tab and for scripts.

    Args:
        logic: `AttentionRegistrationLib.logic.Logic`; may also serve others.
        on_changed: called when something that a window shows has changed.
        clock: seconds since some moment.
        now: local time of day.
        waits: see `Waits`.
    """

    def __init__(
        self,
        logic: Any,
        on_changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
        waits: Waits | None = None,
    ) -> None:
        self._logic, self._on_changed = logic, on_changed
        self._clock, self.now, self._waits = clock, now, waits or Waits()
        self.state: State | None = None
        self.registering = False
        self.sentence, self.failed = "", False
        self.progress: Any = None
        self._watched: Node = None
        self._tags: list[int] = []
        self._seen: tuple[Any, ...] = ()
        self._changes: tuple[float, float] | None = None  # the first and the last not yet registered
        self._gland: object = _UNSEEN
        self._began = 0.0
        self._late = False  # the ultrasound has changed since the registration began
        self._left_out = False  # the gland of the ultrasound was too old to be used

    def bind(self, scene: Any) -> None:
        """Work in this scene from now on, with the session it holds; None: it is closing."""
        self._watch(None)
        self._changes = None
        self.sentence, self.failed = "", False
        self.state = None if scene is None else State(scene)
        self._gland = _UNSEEN
        if self.state is not None:
            self._watch(self.state.get(TRUS))
        self._on_changed()

    def missing(self) -> str:
        """Return what keeps anything from being registered; empty: nothing.

        One of ``no scene``, ``no MRI``, ``no ultrasound``, ``same``, ``empty MRI`` and ``empty ultrasound``.
        """
        return "no scene" if self.state is None else missing(self.state)

    @property
    def waiting(self) -> bool:
        """Whether a change of the ultrasound waits to be registered."""
        return self._changes is not None

    def poll(self) -> None:
        """Look whether there is something to register; call it every 50 ms or so, in the thread of the scene."""
        if self.state is None:
            return
        self._look_at_choices()
        session_carry.follow(self.state)
        if self._changes is None or self._logic.busy or missing(self.state):
            return
        first, last = self._changes
        now = self._clock()
        if now - last >= self._waits.quiet_s or now - first >= self._waits.longest_s:
            self._start(first)

    def watch(self, on: bool) -> None:
        """Register by itself whenever the ultrasound changes, or no longer."""
        self._open().automatic = on
        self._look_at_choices()
        self._changes = None
        self._on_changed()

    def register(self, attention: bool = False) -> None:
        """Register now.

        Args:
            attention: also make attention maps.
        """
        if not self._logic.busy and not self.missing():
            self._look_at_choices()
            self._start(self._clock(), attention)

    def cancel(self) -> None:
        """Stop what is registered for the session, and forget changes that wait."""
        self._changes = None
        if self.registering:
            self._logic.cancel()

    def accept(self, number: int) -> None:
        """Let a result move targets and segments into the ultrasound's space.

        Raises:
            ValueError: its transform is gone, or a target is under a transform that is not linear.
        """
        state = self._open()
        transform = state.nodes(number).to_trus
        if transform is None:
            raise ValueError("The transform of this result is no longer in the scene: register again.")
        session_carry.move(state, transform)
        state.order = [*(other for other in state.order if other != number), number]
        self._judge(number, ACCEPTED)

    def reject(self, number: int) -> None:
        """Say that a result is no good; what it moved goes back to where the one accepted before puts it."""
        state = self._open()
        state.order = [other for other in state.order if other != number]
        self._go_back()
        self._judge(number, REJECTED)

    def undo(self) -> None:
        """Take the last acceptance back."""
        state = self._open()
        if state.order:
            *before, number = state.order
            state.order = before
            self._go_back()
            self._judge(number, OPEN)

    def close(self) -> None:
        """Let go of the scene."""
        self.bind(None)

    def on_progress(self, progress: Any) -> None:
        """The engine has come further."""
        self.progress = progress
        self._on_changed()

    def on_done(self, outcome: Any) -> None:
        """The result is in the scene."""
        self.registering = False
        state = self.state
        if state is not None and outcome.transform.GetScene() is state.scene:
            number = max((entry.number for entry in state.entries), default=0) + 1
            entry = entry_of(number, outcome, state, self._clock() - self._began, self.now())
            entry.late = self._late
            entry.notes += [OUTDATED] if self._left_out else []
            state.keep(number, nodes_of(outcome))
            state.entries = [*state.entries, entry]
            self._forget_old()
            self.sentence, self.failed = "", False
        self._on_changed()

    def on_failed(self, failure: Any) -> None:
        """There is no result."""
        self.registering = False
        self.sentence, self.failed = failure.sentence, failure.code != "cancelled"
        self._on_changed()

    def _open(self) -> State:
        if self.state is None:
            raise ValueError("The scene is closing.")
        return self.state

    def _start(self, began: float, attention: bool = False) -> None:
        state = self._open()
        self._changes = None
        self._began, self._late, self.progress = began, False, None
        self._left_out = state.outdated_gland and state.get(TRUS_GLAND) is not None
        self.sentence, self.failed = "", False
        try:
            self._logic.start(request_of(state, attention), self)
        except ValueError as error:
            self.sentence, self.failed = str(error), True
        else:
            self.registering = True
        self._on_changed()
        if self.registering:
            self._logic.poll()  # no need to wait for the next tick

    def _judge(self, number: int, verdict: str) -> None:
        state = self._open()
        entries = state.entries
        for entry in entries:
            if entry.number == number:
                entry.verdict = verdict
            elif entry.verdict == ACCEPTED and entry.number not in state.order:
                entry.verdict = OPEN
        state.entries = entries
        self._on_changed()

    def _go_back(self) -> None:
        """Put what is carried under the newest accepted result that still has its transform."""
        state = self._open()
        state.order = [number for number in state.order if state.nodes(number).to_trus is not None]
        session_carry.move(state, state.nodes(state.order[-1]).to_trus if state.order else None)

    def _forget_old(self) -> None:
        """Remove the nodes of what was rejected before the newest result, and of the oldest where there are many."""
        state = self._open()
        entries, order = state.entries, state.order
        newest_first = [entry for entry in reversed(entries) if state.nodes(entry.number).to_trus is not None]
        wanted = [entry.number for entry in newest_first if entry is newest_first[0] or entry.verdict != REJECTED]
        wanted = list(dict.fromkeys([*order[-1:], *wanted]))[: self._waits.kept]
        for entry in newest_first:
            if entry.number not in wanted:
                session_carry.remove_result(state, entry.number)
        state.order = [number for number in order if number in wanted]

    def _watch(self, volume: Node) -> None:
        """Observe this volume, and no other."""
        for tag in self._tags:
            self._watched.RemoveObserver(tag)
        self._watched, self._tags = volume, []
        if volume is not None:
            events = (
                slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
                slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
                vtk.vtkCommand.ModifiedEvent,
            )
            self._tags = [volume.AddObserver(event, lambda caller, event: self._look()) for event in events]
            self._seen = look_of(volume)

    def _look(self) -> None:
        """The volume said something: find out whether its voxels or its place have changed."""
        seen = look_of(self._watched)
        if seen == self._seen or self.state is None:
            return
        self._seen, self._late = seen, True
        self.state.outdated_gland = self.state.get(TRUS_GLAND) is not None
        if self.state.automatic:
            now = self._clock()
            self._changes = (self._changes[0] if self._changes else now, now)
            self._on_changed()

    def _look_at_choices(self) -> None:
        """Watch the chosen ultrasound; a gland drawn anew, or another one, belongs to the ultrasound as it is."""
        state = self._open()
        if state.get(TRUS) is not self._watched:
            if self._watched is not None and state.get(TRUS) is not None:
                state.outdated_gland = state.get(TRUS_GLAND) is not None
            self._watch(state.get(TRUS))
            self._on_changed()
        gland = state.get(TRUS_GLAND)
        seen = None if gland is None else (gland.GetID(), outline_time(gland))
        if self._gland is not _UNSEEN and seen != self._gland:
            state.outdated_gland = False
        self._gland = seen
