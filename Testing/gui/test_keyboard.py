"""The panel without a mouse."""

from __future__ import annotations

from typing import Any

from .bench import Bench, QtCore, QTest, QtWidgets, add_ball

ALT = QtCore.Qt.KeyboardModifier.AltModifier


def press(panel: Bench, letter: str) -> None:
    """Press Alt and a letter, wherever the keyboard is."""
    QTest.keyClick(
        QtWidgets.QApplication.focusWidget() or panel.window, getattr(QtCore.Qt.Key, f"Key_{letter.upper()}"), ALT
    )
    panel.look()


def test_a_registration_by_keyboard_alone(panel: Bench) -> None:
    add_ball("Fixed")
    add_ball("Moving")
    press(panel, "x")
    assert QtWidgets.QApplication.focusWidget() is panel.ui.fixedBox.box
    QTest.keyClicks(QtWidgets.QApplication.focusWidget(), "Fixed")
    press(panel, "m")
    QTest.keyClicks(QtWidgets.QApplication.focusWidget(), "Moving")
    assert panel.sentence == "Ready."
    press(panel, "r")
    panel.wait(lambda: panel.busy)
    panel.wait(lambda: not panel.busy)
    press(panel, "a")
    panel.wait(lambda: panel.ui.verdict.text == "Accepted.")
    press(panel, "n")
    panel.wait(lambda: panel.parameters.result_transform is None)
    press(panel, "d")
    panel.wait(lambda: panel.parameters.result_transform is not None)


def test_sections_open_by_keyboard(panel: Bench) -> None:
    for letter, name in (
        ("i", "initialSection"),
        ("s", "regionsSection"),
        ("u", "outputsSection"),
        ("l", "logSection"),
    ):
        section: Any = getattr(panel.ui, name)
        for collapsed in (False, True):
            press(panel, letter)
            panel.wait(lambda section=section, collapsed=collapsed: section.collapsed == collapsed)


def test_cancel_by_keyboard(open_panel: Any) -> None:
    panel = open_panel("slow")
    add_ball("Fixed")
    add_ball("Moving")
    panel.choose_volumes()
    press(panel, "r")
    panel.wait(lambda: panel.ui.progressBar.value > 0)
    press(panel, "c")
    panel.wait(lambda: not panel.busy, 5)
    assert panel.sentence.startswith("Cancelled")
