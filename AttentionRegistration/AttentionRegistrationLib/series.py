"""A sequence of volumes: every frame registered to one of them, one request after the other, on one warm worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import slicer

from AttentionRegistrationLib import nodes, series_results
from AttentionRegistrationLib.events import UNCHANGED, Collector, Failure, Listener, Progress, unexpected
from AttentionRegistrationLib.logic import Logic
from AttentionRegistrationLib.request import Node, Outputs, Request
from AttentionRegistrationLib.series_results import Frame, SeriesOutcome

_FEWEST = 2


@dataclass(frozen=True)
class SeriesRequest:
    """What is asked of a sequence.

    Attributes:
        sequence: node with a scalar volume for each frame: single slices, or stacks on one grid.
        reference: number of the frame that stays, from 0.
        labels: label map or segmentation node drawn on that frame; it is carried to all others.
        options: other fields of `Request`; without ``init`` the frames start as they lie.
    """

    sequence: Node
    reference: int = 0
    labels: Node = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> str:
        """Return why it cannot be registered, as a sentence; empty: it can."""
        if self.sequence is None:
            return "Choose the sequence of frames."
        name, count = self.sequence.GetName(), self.sequence.GetNumberOfDataNodes()
        if count < _FEWEST:
            return f"The sequence '{name}' has {count} of the {_FEWEST} frames it takes; choose another."
        if not all(self.frame(number).IsA("vtkMRMLScalarVolumeNode") for number in range(count)):
            return f"The sequence '{name}' holds other nodes than scalar volumes; choose another."
        if not 0 <= self.reference < count:
            return f"reference: expected a frame from 0 to {count - 1}, got {self.reference}."
        return ""

    def frame(self, number: int) -> Node:
        """Return the volume of a frame."""
        return self.sequence.GetNthDataNode(number)

    def request(self, number: int) -> Request:
        """Return what is asked of a frame."""
        request = Request(
            self.frame(self.reference),
            self.frame(number),
            fixed_labels=self.labels,
            **{"init": ("none",), **self.options},
            outputs=Outputs(jacobian=False, motion=True),
        )
        single = nodes.read_volume(request.fixed, "reference")[1].size[2] == 1
        return replace(request, slicewise=False) if single else request


class Series:
    """A series on its way; `Logic.poll` moves it on. Nothing is added to the scene before its end.

    Args:
        logic: whose worker is warm; its `Logic.cancel` stops the series.
        asked: what to do.
        listener: who is told: progress of the whole, then a `SeriesOutcome` or a failure, once.
    """

    def __init__(self, logic: Logic, asked: SeriesRequest, listener: Listener) -> None:
        self._logic, self._asked, self._listener = logic, asked, listener
        self._frames: dict[int, Frame] = {}
        self._number = self._count = 0
        self._transforms: Node = slicer.vtkMRMLSequenceNode()

    def start(self) -> None:
        """Begin.

        Raises:
            ValueError: a registration is under way, or the sequence cannot be registered; the sentence says why.
        """
        if lacking := self._asked.missing():
            raise ValueError(lacking)
        source = self._asked.sequence
        self._count = source.GetNumberOfDataNodes()
        self._transforms.SetIndexType(source.GetIndexType())
        self._transforms.SetIndexName(source.GetIndexName())
        self._transforms.SetIndexUnit(source.GetIndexUnit())
        self._register(1 if self._asked.reference == 0 else 0)

    def on_progress(self, progress: Progress) -> None:
        """A frame has come further."""
        fraction = (len(self._frames) + progress.fraction) / (self._count - 1)
        stage = f"frame {self._number} of {self._count - 1}: {progress.stage}"
        self._listener.on_progress(replace(progress, fraction=min(1.0, fraction), stage=stage))

    def on_done(self, frame: Frame) -> None:
        """A frame is registered: keep its transform, go on to the next or finish."""
        self._frames[self._number] = frame
        sequence = self._asked.sequence
        if sequence.GetScene() is None or sequence.GetNumberOfDataNodes() != self._count:
            self.on_failed(Failure("removed", f"The sequence was changed or removed, so this was stopped. {UNCHANGED}"))
            return
        try:
            ended = self._go_on(frame)
        except ValueError as error:
            self.on_failed(Failure("bad_input", str(error)))
        except Exception as error:
            self._listener.on_failed(unexpected(error))
        else:
            if ended is not None:
                self._listener.on_done(ended)

    def on_failed(self, failure: Failure) -> None:
        """A frame failed, and with it the series."""
        if failure.code not in ("cancelled", "removed"):
            failure = replace(failure, sentence=f"Frame {self._number}: {failure.sentence}")
        self._listener.on_failed(failure)

    def _go_on(self, frame: Frame) -> SeriesOutcome | None:
        reference = self._asked.reference
        if len(self._frames) == 1 and reference < self._number:
            self._keep(reference, frame.identity)
        following = self._keep(self._number, frame.transform)
        if following == reference:
            following = self._keep(reference, frame.identity)
        if following < self._count:
            self._register(following)
            return None
        return series_results.add(self._asked.sequence, self._transforms, reference, self._frames)

    def _keep(self, number: int, transform: Node) -> int:
        """Put a transform into the sequence; return the number of the next frame."""
        transform.SetName(f"{self._asked.sequence.GetName()} to frame {self._asked.reference}")
        self._transforms.SetDataNodeAtValue(transform, self._asked.sequence.GetNthIndexValue(number))
        return number + 1

    def _register(self, number: int) -> None:
        self._number = number
        self._logic.start(self._asked.request(number), self, series_results.read_frame)


def register_sequence(
    sequence: Node,
    reference: int = 0,
    labels: Node = None,
    logic: Logic | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> SeriesOutcome:
    """Register every frame of a sequence to one of them and wait for it: for scripts, on the panel's own path.

    Args:
        sequence: sequence node of scalar volumes.
        reference: number of the frame that stays, from 0.
        labels: label map or segmentation node drawn on that frame, for the change of their size.
        logic: whose worker is warm; by default one of its own, ended afterwards.
        on_progress: called with every `Progress`.
        **options: fields of `Request`, as in ``preset="cardiac-cine"`` or ``refine=50``.

    Raises:
        ValueError: the sequence or the options cannot be registered.
        RegistrationError: a frame failed; nothing was added to the scene.
    """
    own = logic or Logic()
    listener = Collector(on_progress)
    try:
        Series(own, SeriesRequest(sequence, reference, labels, options), listener).start()
        outcome: SeriesOutcome = own.wait(listener)
        return outcome
    finally:
        if logic is None:
            own.close()
