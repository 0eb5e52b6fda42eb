"""The review of a result: views, figures, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AttentionRegistrationLib.choices import fill, on_choice
from AttentionRegistrationLib.history import Result
from AttentionRegistrationLib.looks import checkerboard, set_opacity, show_grid, show_layers
from AttentionRegistrationLib.request import Node

_FLICKER_MS = 500
WARPED, BEFORE, CHECKERBOARD, JACOBIAN = "warped", "before", "checkerboard", "jacobian"


class Review:
    """The section Review of the panel.

    Args:
        ui: the panel's widgets.
        on_changed: called with the result that is now the last one, or None, after undo and redo.
    """

    def __init__(self, ui: Any, on_changed: Callable[[Result | None], None]) -> None:
        self._ui = ui
        self._on_changed = on_changed
        self._done: list[Result] = []
        self._undone: list[Result] = []
        self._board: Node = None
        self._timer = qt.QTimer(ui.reviewSection)
        self._timer.setInterval(_FLICKER_MS)
        self._timer.connect("timeout()", self._flick)
        self._upper = True
        on_choice(ui.showBox, lambda mode: self._show())
        ui.blendBox.connect("valueChanged(int)", lambda value: set_opacity(value / 100))
        ui.flickerButton.connect("toggled(bool)", self._on_flicker)
        ui.gridButton.connect("toggled(bool)", self._on_grid)
        ui.acceptButton.connect("clicked()", self._on_accept)
        ui.undoButton.connect("clicked()", self._on_undo)
        ui.redoButton.connect("clicked()", self._on_redo)
        self._update()

    @property
    def result(self) -> Result | None:
        """The last result."""
        return self._done[-1] if self._done else None

    def add(self, result: Result) -> None:
        """Show a new result."""
        self._forget_looks()
        self._done.append(result)
        self._undone.clear()
        self._enter()

    def reset(self, result: Result | None) -> None:
        """Forget all results, of another scene as a rule; ``result`` is what this one holds."""
        self._forget_looks()
        self._done, self._undone = ([result] if result else []), []
        self._update()

    def stop(self) -> None:
        """Stop flickering: the panel is left."""
        self._ui.flickerButton.setChecked(False)

    def _enter(self) -> None:
        self._update()
        if self.result:
            self._show()

    def _update(self) -> None:
        ui, result = self._ui, self.result
        before = str(ui.showBox.itemData(ui.showBox.currentIndex) or WARPED)
        modes = _modes(result)
        fill(ui.showBox, modes, before if before in dict(modes) else WARPED)
        for widget in (ui.showBox, ui.blendBox, ui.flickerButton, ui.gridButton):
            widget.setEnabled(result is not None)
        ui.acceptButton.setEnabled(result is not None and not result.accepted)
        ui.undoButton.setEnabled(result is not None)
        ui.redoButton.setEnabled(bool(self._undone))
        ui.verdict.setText(_verdict(result, bool(self._undone)))
        _fill_figures(ui.figures, result.table if result else None)

    def _show(self) -> None:
        result = self.result
        if result is None or not result.in_scene:
            return
        mode = str(self._ui.showBox.itemData(self._ui.showBox.currentIndex))
        self._ui.blendBox.setEnabled(mode != CHECKERBOARD)
        self._ui.flickerButton.setEnabled(mode != CHECKERBOARD)
        self._ui.blendOther.setText({BEFORE: _("Moving"), JACOBIAN: _("Change")}.get(mode, _("Warped")))
        if mode == CHECKERBOARD:
            self._ui.flickerButton.setChecked(False)
            self._board = self._board or checkerboard(result.fixed, result.warped)
            show_layers(self._board, None, 0.0)
        else:
            over = {BEFORE: result.moving, JACOBIAN: result.jacobian}.get(mode, result.warped)
            show_layers(result.fixed, over, self._ui.blendBox.value / 100)

    def _on_flicker(self, on: bool) -> None:
        self._upper = True
        if on:
            self._timer.start()
        else:
            self._timer.stop()
            set_opacity(self._ui.blendBox.value / 100)

    def _flick(self) -> None:
        self._upper = not self._upper
        set_opacity(float(self._upper))

    def _on_grid(self, on: bool) -> None:
        if self.result and self.result.in_scene:
            show_grid(self.result.transform, self.result.fixed, on)

    def _on_accept(self) -> None:
        if self.result:
            self.result.accept()
        self._update()

    def _on_undo(self) -> None:
        self._forget_looks()
        result = self._done.pop()
        result.remove()
        self._undone.append(result)
        show_layers(result.fixed, result.moving, self._ui.blendBox.value / 100)
        self._change()

    def _on_redo(self) -> None:
        self._forget_looks()
        result = self._undone.pop()
        result.restore()
        self._done.append(result)
        self._change()

    def _change(self) -> None:
        self._on_changed(self.result)
        self._enter()

    def _forget_looks(self) -> None:
        """Leave nothing in the scene that serves to look at a result only."""
        self._ui.flickerButton.setChecked(False)
        self._ui.gridButton.setChecked(False)
        if self._board is not None and self._board.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self._board.GetDisplayNode())
            slicer.mrmlScene.RemoveNode(self._board)
        self._board = None


def _modes(result: Result | None) -> list[tuple[str, str]]:
    modes = [
        (WARPED, _("Fixed and warped volume")),
        (BEFORE, _("Fixed and moving volume, as before")),
        (CHECKERBOARD, _("Checkerboard of fixed and warped")),
    ]
    return [*modes, (JACOBIAN, _("Volume change over fixed"))] if result and result.jacobian else modes


def _verdict(result: Result | None, undone: bool) -> str:
    if result is None:
        return _("The last result was taken back.") if undone else _("There is no result yet.")
    return _("Accepted.") if result.accepted else _("Not accepted yet.")


def _fill_figures(view: Any, table: Node) -> None:
    """Show a table node; None: nothing."""
    view.setRowCount(0)
    if table is None:
        return
    content = table.GetTable()
    columns = range(content.GetNumberOfColumns())
    view.setRowCount(content.GetNumberOfRows())
    view.setColumnCount(len(columns))
    view.setHorizontalHeaderLabels([content.GetColumnName(column) for column in columns])
    for row in range(content.GetNumberOfRows()):
        for column in columns:
            view.setItem(row, column, qt.QTableWidgetItem(content.GetValue(row, column).ToString()))
    view.resizeColumnsToContents()
