"""The tab of an MRI-TRUS session with mouse and keyboard; the worker pretends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from .bench import MODULE, Bench, QtCore, QTest, QtGui, QtWidgets, add_ball, slicer
from .test_scene import save_and_load

OpenPanel = Callable[..., Bench]
UI = MODULE.parent / "Resources" / "UI" / "MriTrusSession.ui"
PLAIN = {"QLabel", "QWidget", "qMRMLWidget", "QProgressBar"}


class Tab:
    """The second tab, opened with a click."""

    def __init__(self, panel: Bench) -> None:
        self.panel = panel
        self.tab = panel.widget.session
        self.ui = self.tab._ui
        bar = panel.ui.tabs.tabBar()
        panel.look()
        QTest.mouseClick(bar, QtCore.Qt.MouseButton.LeftButton, pos=bar.tabRect(1).center())
        panel.look()
        assert self.ui.mriBox.isVisible()

    @property
    def state(self) -> Any:
        return self.tab.session.state

    @property
    def sentence(self) -> str:
        return self.ui.sessionSentence.text.replace("<b>", "").replace("</b>", "")

    def fill(self) -> None:
        """Choose volumes and targets with the keyboard."""
        add_ball("MRI")
        add_ball("TRUS", 4.0)
        targets = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Targets")
        targets.AddControlPoint([5.0, 6.0, 7.0])
        for box, name in (("mriBox", "MRI"), ("trusBox", "TRUS"), ("targetsBox", "Targets")):
            self.panel.choose(getattr(self.ui, box), name)

    def register(self) -> None:
        count = len(self.state.entries)
        self.panel.click(self.ui.registerNowButton)
        self.panel.wait(lambda: len(self.state.entries) == count + 1)

    def change(self, by: int = 1) -> None:
        """Change the voxels, as a source of images does."""
        slicer.util.arrayFromVolume(self.state.get("trus"))[...] += by
        slicer.util.arrayFromVolumeModified(self.state.get("trus"))

    def cells(self, row: int) -> list[str]:
        table = self.ui.historyTable
        return [table.item(row, column).text() for column in range(table.columnCount)]


@pytest.fixture
def tab(panel: Bench) -> Tab:
    return Tab(panel)


@pytest.fixture
def filled(tab: Tab) -> Tab:
    tab.fill()
    return tab


def test_an_empty_scene_says_what_is_missing(tab: Tab) -> None:
    assert tab.sentence == "Choose the MRI."
    names = ("registerNowButton", "attentionButton", "acceptResultButton", "rejectResultButton", "undoAcceptButton")
    assert not any(getattr(tab.ui, name).isEnabled() for name in (*names, "showResultButton", "reportButton"))
    add_ball("MRI")
    tab.panel.choose(tab.ui.mriBox, "MRI")
    assert tab.sentence == "Choose the volume of the ultrasound."
    tab.panel.choose(tab.ui.trusBox, "MRI")
    assert "the same volume" in tab.sentence


def test_from_the_click_to_targets_in_the_ultrasound(filled: Tab) -> None:
    assert filled.sentence == "Ready."
    filled.panel.click(filled.ui.registerNowButton)
    filled.panel.wait(lambda: filled.ui.historyTable.rowCount == 1)
    assert filled.cells(0)[0] == "1"
    assert filled.cells(0)[3:] == ["Dice 0.75", "not known", ""]
    filled.panel.click(filled.ui.acceptResultButton)
    assert filled.cells(0)[5] == "accepted"
    assert not filled.ui.acceptResultButton.isEnabled()
    assert "Targets in ultrasound" in filled.panel.names("vtkMRMLMarkupsFiducialNode")
    filled.panel.click(filled.ui.undoAcceptButton)
    assert filled.panel.names("vtkMRMLMarkupsFiducialNode") == ["Targets"]
    filled.panel.click(filled.ui.rejectResultButton)
    assert filled.cells(0)[5] == "rejected"


def test_a_change_is_registered_by_itself(filled: Tab) -> None:
    filled.register()
    filled.panel.click(filled.ui.automaticBox)
    assert filled.sentence == "Waiting for the ultrasound to change."
    filled.change()
    filled.panel.wait(lambda: filled.ui.historyTable.rowCount == 2)
    assert [filled.cells(row)[0] for row in range(2)] == ["2", "1"]
    assert filled.ui.historyTable.currentRow() == 0
    filled.panel.click(filled.ui.automaticBox)
    filled.change()
    QTest.qWait(500)
    assert not filled.tab.session.registering
    assert filled.ui.historyTable.rowCount == 2


def test_a_word_says_how_sure_a_result_is(filled: Tab) -> None:
    filled.register()
    entries = filled.state.entries
    for spread, word, sentence in ((0.9, "0.9 mm sure", "is sure"), (3.2, "3.2 mm not sure", "is not sure")):
        entries[0].spread_mm = spread
        filled.state.entries = entries
        filled.tab.update()
        assert filled.cells(0)[4] == word
        assert sentence in filled.ui.resultSentence.text


def test_the_chosen_row_is_the_one_that_is_judged(filled: Tab) -> None:
    for _ in range(3):
        filled.register()
    table = filled.ui.historyTable
    table.setFocus()
    QTest.keyClick(table, QtCore.Qt.Key.Key_Down)
    filled.panel.click(filled.ui.rejectResultButton)
    assert [filled.cells(row)[5] for row in range(3)] == ["", "rejected", ""]
    assert table.currentRow() == 1


def test_cancel_and_a_worker_that_crashes(open_panel: OpenPanel) -> None:
    tab = Tab(open_panel("slow"))
    tab.fill()
    tab.panel.click(tab.ui.registerNowButton)
    tab.panel.wait(lambda: tab.ui.sessionBar.value > 0)
    assert tab.ui.registerNowButton.text == "&Cancel"
    tab.panel.click(tab.ui.registerNowButton)
    tab.panel.wait(lambda: not tab.tab.session.registering, 5)
    tab.panel.wait(lambda: tab.sentence.startswith("Cancelled"))
    assert tab.ui.registerNowButton.text == "&Register now"
    crashing = Tab(open_panel("crash"))
    crashing.panel.click(crashing.ui.registerNowButton)
    crashing.panel.wait(lambda: "crashed" in crashing.sentence)
    assert crashing.ui.sessionSentence.text.startswith("<b>")


def test_the_tabs_wait_for_each_other(open_panel: OpenPanel) -> None:
    tab = Tab(open_panel("slow"))
    tab.fill()
    panel = tab.panel
    panel.parameters.fixed, panel.parameters.moving = tab.state.get("mri"), tab.state.get("trus")
    panel.click(tab.ui.registerNowButton)
    assert "session is registering" in panel.sentence
    assert not panel.ui.registerButton.isEnabled()
    panel.click(tab.ui.registerNowButton)
    panel.wait(lambda: not tab.tab.session.registering, 5)
    panel.wait(lambda: panel.ui.registerButton.isEnabled())
    panel.ui.tabs.setCurrentIndex(0)
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: not tab.ui.registerNowButton.isEnabled())
    assert "Another tab is at work" in tab.sentence
    panel.click(panel.ui.registerButton)
    panel.wait(lambda: tab.ui.registerNowButton.isEnabled(), 5)


def test_attention_maps_are_shown(filled: Tab) -> None:
    filled.panel.click(filled.ui.attentionButton)
    filled.panel.wait(lambda: filled.ui.historyTable.rowCount == 1)
    (shown,) = {view.GetForegroundVolumeID() for view in filled.panel.views()}
    assert "attention" in filled.panel.scene.GetNodeByID(shown).GetName()
    filled.panel.click(filled.ui.showResultButton)
    (shown,) = {view.GetForegroundVolumeID() for view in filled.panel.views()}
    assert filled.panel.scene.GetNodeByID(shown).GetName().endswith("warped")


def test_the_report_is_written_without_names(filled: Tab, tmp_path: Path) -> None:
    filled.register()
    filled.state.get("mri").SetName("DOE^JANE")
    filled.tab.ask_folder = lambda: ""
    filled.panel.click(filled.ui.reportButton)
    assert not list(tmp_path.glob("mri-trus*"))
    filled.tab.ask_folder = lambda: str(tmp_path)
    filled.panel.click(filled.ui.reportButton)
    page, data = sorted(tmp_path.glob("mri-trus*"))
    assert filled.sentence == f"Written: {page.name} and {data.name}."
    assert "DOE" not in page.read_text() + data.read_text()
    assert len(json.loads(data.read_text())["history"]) == 1
    filled.tab.ask_folder = lambda: str(tmp_path / "missing")
    filled.panel.click(filled.ui.reportButton)
    assert "cannot be written" in filled.sentence


def test_the_session_comes_back_with_its_scene(filled: Tab, tmp_path: Path) -> None:
    markups = slicer.vtkSlicerMarkupsLogic()  # knows how points are saved
    markups.SetMRMLScene(filled.panel.scene)
    filled.register()
    filled.panel.click(filled.ui.acceptResultButton)
    filled.panel.click(filled.ui.automaticBox)
    save_and_load(filled.panel, tmp_path)
    assert filled.ui.mriBox.currentNode().GetName() == "MRI"
    assert filled.ui.automaticBox.checked
    assert filled.cells(0)[5] == "accepted"
    filled.change()
    filled.panel.wait(lambda: filled.ui.historyTable.rowCount == 2)
    filled.panel.scene.Clear(False)
    filled.panel.look()
    assert filled.sentence == "Choose the MRI."
    assert filled.ui.historyTable.rowCount == 0


def test_a_scene_that_closes_in_the_middle(open_panel: OpenPanel) -> None:
    tab = Tab(open_panel("slow"))
    tab.fill()
    tab.panel.click(tab.ui.registerNowButton)
    tab.panel.wait(lambda: tab.ui.sessionBar.value > 0)
    tab.panel.scene.Clear(False)
    tab.panel.wait(lambda: not tab.panel.busy, 5)
    tab.panel.look()
    assert tab.sentence == "Choose the MRI."
    assert not tab.ui.registerNowButton.isEnabled()


def test_segments_can_be_chosen(filled: Tab) -> None:
    assert not filled.ui.segmentBox.isVisible()
    segmentations = slicer.vtkSlicerSegmentationsModuleLogic()  # knows what segments are made of
    segmentations.SetMRMLScene(filled.panel.scene)
    outline = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Outlines")
    for name in ("bladder", "gland"):
        outline.GetSegmentation().AddEmptySegment(name, name)
    filled.panel.choose(filled.ui.glandBox, "Outlines")
    assert filled.ui.segmentBox.isVisible()
    filled.panel.choose(filled.ui.segmentBox, "gland")
    segment = outline.GetSegmentation().GetSegment(filled.state.segment)
    assert segment.GetName() == "gland"


def test_pictures_of_the_tab(filled: Tab, pictures: Path) -> None:
    filled.panel.picture(pictures / "session_ready.png")
    for number, spread in enumerate((0.8, 3.6, 1.1)):
        filled.register()
        entries = filled.state.entries
        entries[-1].spread_mm, entries[-1].sre_mm = spread, 1.9 + number
        filled.state.entries = entries
        filled.tab.update()
        filled.panel.click(filled.ui.rejectResultButton if number == 1 else filled.ui.acceptResultButton)
    filled.panel.picture(pictures / "session.png")
    picture = QtGui.QImage(str(pictures / "session.png"))
    colours = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
    assert picture.width() > 400
    assert len(colours) > 10
    table = filled.ui.historyTable
    assert not table.horizontalScrollBar().isVisible(), "every column is seen"


def test_by_keyboard_alone(filled: Tab) -> None:
    def press(letter: str) -> None:
        where = QtWidgets.QApplication.focusWidget() or filled.panel.window
        QTest.keyClick(where, getattr(QtCore.Qt.Key, f"Key_{letter}"), QtCore.Qt.KeyboardModifier.AltModifier)
        filled.panel.look()

    press("M")
    assert QtWidgets.QApplication.focusWidget() is filled.ui.mriBox.box
    press("R")
    filled.panel.wait(lambda: filled.ui.historyTable.rowCount == 1)
    press("A")
    filled.panel.wait(lambda: filled.cells(0)[5] == "accepted")
    press("N")
    filled.panel.wait(lambda: filled.cells(0)[5] == "")
    press("J")
    filled.panel.wait(lambda: filled.cells(0)[5] == "rejected")


def widgets() -> list[ElementTree.Element]:
    return list(ElementTree.parse(UI).iter("widget"))


def text(widget: ElementTree.Element, name: str) -> str:
    found = widget.find(f"property[@name='{name}']/string")
    return (found.text or "") if found is not None else ""


def test_tooltips_letters_and_the_tab_key() -> None:
    takes = [widget for widget in widgets() if widget.get("class") not in PLAIN]
    assert [widget.get("name") for widget in takes if not text(widget, "toolTip")] == []
    texts = [text(widget, "text") for widget in widgets()]
    letters = [said[said.index("&") + 1].lower() for said in texts if "&" in said]
    assert len(letters) == len(set(letters)), sorted(letters)
    assert not {"f", "e", "v", "h", "c"} & set(letters), "File, Edit, View, Help, and Cancel while it runs"
    stops = [stop.text for stop in ElementTree.parse(UI).getroot().iter("tabstop")]
    assert stops == [widget.get("name") for widget in takes]
