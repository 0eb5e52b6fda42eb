"""The tab of an MRI-TRUS session: shows what `Session` does. It computes nothing and waits for nothing."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from AttentionRegistrationLib import install, nodes, session_report
from AttentionRegistrationLib.choices import fill, on_choice
from AttentionRegistrationLib.looks import show_layers
from AttentionRegistrationLib.session import Session
from AttentionRegistrationLib.session_history import HistoryTable, described
from AttentionRegistrationLib.session_state import (
    ACCEPTED,
    GLAND,
    MODEL,
    MRI,
    REJECTED,
    TARGETS,
    TRUS,
    TRUS_GLAND,
    State,
)
from AttentionRegistrationLib.widget import take_keyboard

POLL_MS = 50
_BAR = 1000
_BOXES = {
    MRI: "mriBox",
    GLAND: "glandBox",
    TARGETS: "targetsBox",
    MODEL: "modelBox",
    TRUS: "trusBox",
    TRUS_GLAND: "trusGlandBox",
}


class SessionTab:
    """The tab MRI-TRUS session.

    Args:
        ui: its widgets by name.
        top: the tab itself.
        logic: the one that the tab Register uses.
        leave_to: called with a sentence while the session registers, with an empty one when it no longer does.
        ask_folder: asks for a folder; returns an empty text if there is none.
    """

    def __init__(
        self,
        ui: Any,
        top: Any,
        logic: Any,
        leave_to: Callable[[str], None] = lambda sentence: None,
        ask_folder: Callable[[], str] | None = None,
    ) -> None:
        self._ui, self._logic, self._leave_to = ui, logic, leave_to
        self.ask_folder = ask_folder or partial(_ask_folder, top)
        self._said = ""
        self._busy: tuple[bool, bool] = (False, False)
        self._shown = 0
        self._filling = False
        self.session = Session(logic, self.update)
        self._table = HistoryTable(ui.historyTable, self.update)
        for role, box in _BOXES.items():
            take_keyboard(getattr(ui, box))
            getattr(ui, box).connect("currentNodeChanged(vtkMRMLNode*)", partial(self._choose, role))
        on_choice(ui.segmentBox, self._on_segment)
        ui.automaticBox.connect("toggled(bool)", self._on_automatic)
        buttons = {
            ui.registerNowButton: self._on_register,
            ui.attentionButton: partial(self._register, True),
            ui.acceptResultButton: partial(self._on_verdict, self.session.accept),
            ui.rejectResultButton: partial(self._on_verdict, self.session.reject),
            ui.undoAcceptButton: partial(self._try, self.session.undo),
            ui.showResultButton: self._on_show,
            ui.reportButton: self._on_report,
        }
        for button, slot in buttons.items():
            button.connect("clicked()", slot)
        self._timer = qt.QTimer(top)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._timer.start()

    def set_scene(self, scene: Any) -> None:
        """Show the session of this scene; None: it is closing."""
        self._said = ""
        if scene is None:
            self.session.cancel()
        self.session.bind(scene)
        self._shown = max((entry.number for entry in self._entries()), default=0)

    def close(self) -> None:
        """The module or the program ends."""
        self._timer.stop()
        self.set_scene(None)

    def update(self) -> None:
        """Show how things are."""
        if self._filling:
            return
        self._filling = True
        try:
            self._show_choices()
            self._table.show(self._entries())
            self._show_new_attention()
            self._show_buttons()
            self._show_sentence()
        finally:
            self._filling = False

    def _entries(self) -> list[Any]:
        return self.session.state.entries if self.session.state else []

    def _show_choices(self) -> None:
        state, ui = self.session.state, self._ui
        if state is None:
            return
        for role, box in _BOXES.items():
            if getattr(ui, box).currentNode() is not state.get(role):
                getattr(ui, box).setCurrentNode(state.get(role))
        segments = _segments(state)
        fill(ui.segmentBox, segments, state.segment if state.segment in dict(segments) else segments[0][0])
        for widget in (ui.segmentLabel, ui.segmentBox):
            widget.setVisible(len(segments) > 1)
        blocked = ui.automaticBox.blockSignals(True)
        ui.automaticBox.setChecked(state.automatic)
        ui.automaticBox.blockSignals(blocked)

    def _show_buttons(self) -> None:
        ui, session, entry = self._ui, self.session, self._table.chosen
        registering = session.registering
        self._leave_to(_("The MRI-TRUS session is registering: wait for it.") if registering else "")
        free = not session.missing() and not self._logic.busy
        ui.registerNowButton.setText(_("&Cancel") if registering else _("&Register now"))
        ui.registerNowButton.setEnabled(registering or free)
        ui.attentionButton.setEnabled(free)
        ui.automaticBox.setEnabled(session.state is not None)
        ui.sessionBar.setVisible(registering)
        fraction = session.progress.fraction if session.progress else 0.0
        ui.sessionBar.setValue(round(fraction * _BAR))
        there = entry is not None and session.state is not None and bool(session.state.nodes(entry.number).to_trus)
        ui.acceptResultButton.setEnabled(there and not self._counts(entry))
        ui.rejectResultButton.setEnabled(entry is not None and entry.verdict != REJECTED)
        ui.undoAcceptButton.setEnabled(bool(session.state and session.state.order))
        ui.showResultButton.setEnabled(there)
        ui.reportButton.setEnabled(bool(self._entries()))
        ui.resultSentence.setText(described(entry, there, bool(session.state and session.state.outdated_gland)))

    def _counts(self, entry: Any) -> bool:
        """Whether targets lie where this result puts them."""
        return bool(
            entry.verdict == ACCEPTED and self.session.state and self.session.state.order[-1:] == [entry.number]
        )

    def _show_sentence(self) -> None:
        session = self.session
        lacking = _lacking().get(session.missing(), "")
        loud = False
        if session.registering:
            text = _doing(session.progress)
        elif lacking:
            text = lacking
        elif self._logic.busy:
            text = _("Another tab is at work: wait for it.")
        elif session.sentence or self._said:
            text, loud = session.sentence or self._said, session.failed
        elif session.waiting:
            text = _("The ultrasound is changing …")
        elif session.state is not None and session.state.automatic:
            text = _("Waiting for the ultrasound to change.")
        else:
            text = _("Ready.")
        safe = html.escape(text)
        self._ui.sessionSentence.setText(f"<b>{safe}</b>" if loud else safe)

    def _show_new_attention(self) -> None:
        newest = max((entry.number for entry in self._entries()), default=0)
        if newest <= self._shown:
            return
        self._shown = newest
        state = self.session.state
        maps = state.nodes(newest).attention if state else ()
        if state is not None and maps:
            show_layers(state.get(MRI), maps[0], 0.5)

    def _poll(self) -> None:
        self.session.poll()
        busy = (bool(self._logic.busy), self.session.registering)
        if busy != self._busy:
            self._busy = busy
            self.update()

    def _choose(self, role: str, node: Any) -> None:
        state = self.session.state
        if state is None or self._filling or state.get(role) is node:
            return
        state.choose(role, node)
        self._said, self.session.sentence = "", ""
        self.session.poll()
        self.update()

    def _on_segment(self, identifier: str) -> None:
        if self.session.state is not None and not self._filling:
            self.session.state.segment = identifier

    def _on_automatic(self, on: bool) -> None:
        if self.session.state is not None and (not on or self._prepare()):
            self.session.watch(on)
        self.update()

    def _on_register(self) -> None:
        if self.session.registering:
            self.session.cancel()
        else:
            self._register(False)

    def _register(self, attention: bool) -> None:
        self._said = ""
        if self._prepare():
            self.session.register(attention)
        self.update()

    def _prepare(self) -> bool:
        """Install what is missing, the first time; this alone blocks the panel, as Slicer's installers do."""
        try:
            if install.missing():
                install.ensure()
        except install.InstallError as error:
            self._say(str(error), failed=True)
            return False
        return True

    def _on_verdict(self, decide: Callable[[int], None]) -> None:
        if self._table.chosen is not None:
            self._try(partial(decide, self._table.chosen.number))

    def _try(self, decide: Callable[[], None]) -> None:
        try:
            decide()
        except ValueError as error:
            self._say(str(error), failed=True)

    def _on_show(self) -> None:
        state, entry = self.session.state, self._table.chosen
        if state is not None and entry is not None:
            show_layers(state.get(MRI), state.nodes(entry.number).warped, 0.5)

    def _on_report(self) -> None:
        folder, state = self.ask_folder(), self.session.state
        if not folder or state is None:
            return
        try:
            page, data = session_report.write(
                Path(folder), session_report.content(state, self.session.now(), self._logic.hello())
            )
        except ValueError as error:
            self._say(str(error), failed=True)
        else:
            self._say(_("Written: {page} and {data}.").format(page=page.name, data=data.name))

    def _say(self, sentence: str, failed: bool = False) -> None:
        self._said, self.session.sentence, self.session.failed = sentence, "", failed
        self.update()


def _segments(state: State) -> list[tuple[str, str]]:
    gland = state.get(GLAND)
    if gland is None or not gland.IsA("vtkMRMLSegmentationNode"):
        return [("", "")]
    return list(nodes.segment_names(gland).items()) or [("", "")]


def _lacking() -> dict[str, str]:
    return {
        "no scene": _("The scene is closing."),
        "no MRI": _("Choose the MRI."),
        "no ultrasound": _("Choose the volume of the ultrasound."),
        "same": _("MRI and ultrasound are the same volume: choose two."),
        "empty MRI": _("The MRI has no image: load one or choose another volume."),
        "empty ultrasound": _("The ultrasound has no image yet: load one, or start what sends it."),
    }


def _doing(progress: Any) -> str:
    stage = progress.stage if progress else ""
    return _("Registering: {stage} …").format(stage=stage) if stage else _("Registering …")


def _ask_folder(parent: Any) -> str:
    return str(qt.QFileDialog.getExistingDirectory(parent, _("Folder for the session report")))
