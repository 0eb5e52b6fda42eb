"""The tab of a cine series: shows what `Series` does. It computes nothing and waits for nothing."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from AttentionRegistrationLib import install
from AttentionRegistrationLib.events import Failure, Progress
from AttentionRegistrationLib.looks import show_chart
from AttentionRegistrationLib.series import Series, SeriesRequest
from AttentionRegistrationLib.series_results import SeriesOutcome
from AttentionRegistrationLib.widget import POLL_MS, take_keyboard
from AttentionRegistrationLib.wording import in_panel

_BAR = 1000
_PRESET = "cardiac-cine"
_SHOWN = ("frame", "mean displacement (mm)", "largest displacement (mm)")


class SeriesTab:
    """The tab Cine series; listens to a `Series`.

    Args:
        ui: its widgets by name.
        top: the tab itself.
        logic: the one that the tab Register uses.
        method: what the tab Register says of the method, as fields of `Request`.
        leave_to: called with a sentence while the series is registered, with an empty one when it no longer is.
    """

    def __init__(
        self,
        ui: Any,
        top: Any,
        logic: Any,
        method: Callable[[], dict[str, Any]],
        leave_to: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._ui, self._logic, self._method, self._leave_to = ui, logic, method, leave_to
        self._running = False
        self._was_busy = False
        self._ending = ("", False)
        self._parameters: Any = None  # `Parameters`, with what Slicer's wrapper adds
        self._gui_tag: Any = None
        self._observer: int | None = None
        take_keyboard(ui.sequenceBox)
        take_keyboard(ui.outlinesBox)
        ui.sequenceBox.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._on_choice())
        ui.outlinesBox.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._on_choice())
        ui.referenceBox.connect("valueChanged(int)", self._on_reference)
        ui.seriesButton.connect("clicked()", self._on_button)
        ui.curvesButton.connect("clicked()", self._on_curves)
        self._timer = qt.QTimer(top)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._timer.start()
        self.set_parameters(None)

    def set_parameters(self, parameters: Any) -> None:
        """Show the series of these parameters from now on; None: there is no scene to keep them."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self._parameters.RemoveObserver(self._observer)
        self._parameters = parameters
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self._ui)
            self._observer = parameters.AddObserver(
                vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._on_modified()
            )
        self._ending = ("", False)
        self._show_table()
        self._on_modified()

    def close(self) -> None:
        """The module or the program ends."""
        self._timer.stop()
        self.set_parameters(None)

    def scene_closes(self) -> None:
        """Stop what works on nodes that will be gone."""
        if self._running:
            self._logic.cancel()
        self.set_parameters(None)

    def update(self) -> None:
        """Show how things are."""
        ui, running = self._ui, self._running
        lacking = self._asked().missing()
        self._leave_to(_("A cine series is being registered: wait for it.") if running else "")
        ui.seriesButton.setText(_("&Cancel") if running else _("&Register all frames"))
        ui.seriesButton.setEnabled(running or not (lacking or self._logic.busy))
        for box in (ui.sequenceBox, ui.referenceBox, ui.outlinesBox):
            box.setEnabled(not running)
        ui.seriesBar.setVisible(running)
        ui.curvesButton.setEnabled(self._parameters is not None and self._parameters.series_chart is not None)
        if running:
            return
        busy = _("Another tab is at work: wait for it.") if self._logic.busy else ""
        ending, loud = self._ending
        self._say(lacking or busy or ending or _("Ready."), loud=loud and not (lacking or busy))

    def on_progress(self, progress: Progress) -> None:
        """The series has come further."""
        self._ui.seriesBar.setValue(round(progress.fraction * _BAR))
        if self._ui.seriesButton.enabled:
            self._say(f"{progress.stage[:1].upper()}{progress.stage[1:]} …")

    def on_done(self, outcome: SeriesOutcome) -> None:
        """Transforms, table and curves are in the scene."""
        if self._parameters is not None:
            with slicer.util.NodeModify(self._parameters.parameterNode):
                self._parameters.series_table, self._parameters.series_chart = outcome.table, outcome.charts[-1]
        self._show_table()
        done = _("Done in {count:.1f} s: '{name}' has a transform for each frame.")
        self._end(
            " ".join([done.format(count=outcome.seconds, name=outcome.transforms.GetName()), *outcome.notes]),
        )

    def on_failed(self, failure: Failure) -> None:
        """There is no result."""
        self._end(failure.sentence, loud=failure.code != "cancelled")

    def _asked(self) -> SeriesRequest:
        ui, options = self._ui, self._method()
        if "preset" in options:
            options["preset"] = _PRESET
        return SeriesRequest(ui.sequenceBox.currentNode(), ui.referenceBox.value, ui.outlinesBox.currentNode(), options)

    def _on_choice(self) -> None:
        if not self._running:
            self._ending = ("", False)
            self.update()

    def _on_reference(self, number: int) -> None:
        if self._parameters is not None:
            self._parameters.reference = number

    def _on_modified(self) -> None:
        self._show_reference()
        if not self._running:
            self.update()

    def _show_reference(self) -> None:
        """Show the number of the frame that stays; one that the sequence does not have becomes its last."""
        # Not the menu's sequence: to write while Slicer's wrapper has not taken that over would undo the choice.
        box, chosen = self._ui.referenceBox, self._parameters
        sequence, wanted = (chosen.sequence, chosen.reference) if chosen is not None else (None, 0)
        last = max(0, sequence.GetNumberOfDataNodes() - 1) if sequence else 0
        blocked = box.blockSignals(True)
        box.setMaximum(last)
        box.setValue(wanted)
        box.blockSignals(blocked)
        if last and wanted > last:
            self._on_reference(last)

    def _on_button(self) -> None:
        if self._running:
            self._ui.seriesButton.setEnabled(False)
            self._say(_("Cancelling …"))
            self._logic.cancel()
            return
        try:
            if install.missing():
                install.ensure()  # the first time; this alone blocks the panel, as Slicer's installers do
            Series(self._logic, self._asked(), self).start()
        except (ValueError, install.InstallError) as error:
            self._end(in_panel(str(error)), loud=True)
            return
        self._running = True
        self._ui.seriesBar.setValue(0)
        self.update()
        self._say(_("Starting …"))

    def _on_curves(self) -> None:
        show_chart(self._parameters.series_chart)

    def _poll(self) -> None:
        if bool(self._logic.busy) != self._was_busy:
            self._was_busy = bool(self._logic.busy)
            self.update()

    def _show_table(self) -> None:
        """Fill the panel's table from the scene's, the most telling columns."""
        node, view = self._parameters.series_table if self._parameters is not None else None, self._ui.motionTable
        view.setRowCount(0)
        view.setColumnCount(0)
        if node is None:
            return
        table = node.GetTable()
        names = [table.GetColumn(number).GetName() for number in range(table.GetNumberOfColumns())]
        shown = [name for name in names if name in _SHOWN or name.endswith("change (%)")]
        view.setColumnCount(len(shown))
        view.setHorizontalHeaderLabels([name.replace(" displacement", "") for name in shown])
        view.setRowCount(table.GetNumberOfRows())
        for column, name in enumerate(shown):
            values = table.GetColumnByName(name)
            for row in range(table.GetNumberOfRows()):
                value = float(values.GetValue(row))  # a table that was loaded may hold texts
                view.setItem(row, column, qt.QTableWidgetItem(f"{value:.{0 if name == 'frame' else 2}f}"))
        view.resizeColumnsToContents()
        view.resizeRowsToContents()

    def _end(self, sentence: str, loud: bool = False) -> None:
        self._running, self._ending = False, (sentence, loud)
        self.update()

    def _say(self, sentence: str, loud: bool = False) -> None:
        text = html.escape(sentence)
        self._ui.seriesSentence.setText(f"<b>{text}</b>" if loud else text)
