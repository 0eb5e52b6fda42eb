"""The history of a session as a table, and a result in words."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from AttentionRegistrationLib.session_entry import OUTDATED
from AttentionRegistrationLib.session_state import ACCEPTED, REJECTED, Entry


class HistoryTable:
    """Shows the history, the newest first, and knows which result is chosen.

    Args:
        table: a QTableWidget.
        on_chosen: called when another one is chosen.
    """

    def __init__(self, table: Any, on_chosen: Callable[[], None]) -> None:
        self._table, self._on_chosen = table, on_chosen
        self._entries: list[Entry] = []
        self._filling = False
        self._fill()
        table.connect("itemSelectionChanged()", self._on_selection)

    @property
    def chosen(self) -> Entry | None:
        """The chosen result; None: there is none."""
        row = self._table.currentRow()
        return self._entries[row] if 0 <= row < len(self._entries) else None

    def show(self, entries: Sequence[Entry]) -> None:
        """Show these; a new one is chosen, else the choice stays."""
        shown = list(reversed(entries))
        if shown == self._entries:
            return
        before = self.chosen.number if self.chosen else None
        newest = self._entries[0].number if self._entries else None
        self._entries = shown
        numbers = [entry.number for entry in shown]
        is_new = bool(numbers) and numbers[0] != newest
        self._fill()
        self._choose(0 if is_new or before not in numbers else numbers.index(before))

    def _fill(self) -> None:
        self._filling = True
        table, head = self._table, _head()
        table.setRowCount(0)
        table.setColumnCount(len(head))
        table.setHorizontalHeaderLabels(head)
        table.setRowCount(len(self._entries))
        for row, entry in enumerate(self._entries):
            for column, text in enumerate(_cells(entry)):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()
        table.resizeRowsToContents()
        self._filling = False

    def _choose(self, row: int) -> None:
        self._filling = True
        self._table.setCurrentCell(row if self._entries else -1, 0)
        self._filling = False

    def _on_selection(self) -> None:
        if not self._filling:
            self._on_chosen()


def _head() -> list[str]:
    return [_("No."), _("Time"), _("Took"), _("Match"), _("Spread"), _("Verdict")]


def _cells(entry: Entry) -> list[str]:
    return [
        str(entry.number),
        entry.at.partition("T")[2],
        _("{count:.1f} s").format(count=entry.seconds),
        _match(entry),
        _spread(entry),
        {ACCEPTED: _("accepted"), REJECTED: _("rejected")}.get(entry.verdict, ""),
    ]


def _match(entry: Entry) -> str:
    if entry.sre_mm is not None:
        return _millimetres(entry.sre_mm)
    return "" if entry.dsc is None else _("Dice {dsc:.2f}").format(dsc=entry.dsc)


def _spread(entry: Entry) -> str:
    if entry.spread_mm is None:
        return _("not known")
    word = _("sure") if entry.sure else _("not sure")
    return _("{spread} {word}").format(spread=_millimetres(entry.spread_mm), word=word)


def _millimetres(value: float | None) -> str:
    return "" if value is None else _("{value:.1f} mm").format(value=value)


def described(entry: Entry | None, there: bool, outdated_gland: bool) -> str:
    """Say in words how good the chosen result is, as rich text.

    Args:
        entry: the result; None: there is none.
        there: whether its transform is in the scene.
        outdated_gland: whether the ultrasound has changed since its gland was outlined.
    """
    if entry is None:
        return html.escape(_("There is no result yet."))
    parts = [_confidence(entry)]
    if entry.sre_mm is not None:
        parts.append(_("Surface error {error}.").format(error=_millimetres(entry.sre_mm)))
    if entry.dsc is not None:
        parts.append(_("Overlap (Dice) {dsc:.2f}.").format(dsc=entry.dsc))
    if entry.late:
        parts.append(_("The ultrasound changed while it was registered."))
    if not there:
        parts.append(_("Its transform is no longer in the scene."))
    parts += entry.notes
    if outdated_gland and OUTDATED not in entry.notes:
        parts.append(_("The ultrasound has changed since its gland was outlined: the outline is no longer used."))
    first, *others = (html.escape(part) for part in parts)
    return " ".join([f"<b>{first}</b>", *others])


def _confidence(entry: Entry) -> str:
    number = entry.number
    if entry.sure is None:
        return _("Result {number}: how sure it is, is not known.").format(number=number)
    apart = _millimetres(entry.spread_mm)
    if entry.sure:
        return _("Result {number} is sure: runs lie {apart} apart.").format(number=number, apart=apart)
    return _("Result {number} is not sure: runs lie {apart} apart. Look closely.").format(number=number, apart=apart)
