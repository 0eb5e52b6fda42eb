"""The tab of a cine series with mouse and keyboard; the worker pretends, once it is the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from .bench import MODULE, Bench, QtCore, QTest, add_ball, slicer
from .test_pictures import check
from .test_scene import save_and_load

OpenPanel = Callable[..., Bench]
UI = MODULE.parent / "Resources" / "UI" / "CineSeries.ui"
PLAIN = {"QLabel", "QWidget", "qMRMLWidget", "QProgressBar"}
FRAMES, SIZE = 5, 32


class Tab:
    """The third tab, opened with a click."""

    def __init__(self, panel: Bench) -> None:
        self.panel = panel
        self.tab = panel.widget.series
        self.ui = self.tab._ui
        bar = panel.ui.tabs.tabBar()
        panel.look()
        QTest.mouseClick(bar, QtCore.Qt.MouseButton.LeftButton, pos=bar.tabRect(2).center())
        panel.look()
        assert self.ui.sequenceBox.isVisible()

    @property
    def sentence(self) -> str:
        return self.ui.seriesSentence.text.replace("<b>", "").replace("</b>", "")

    def fill(self) -> None:
        """Choose a beating disc and its outline with the keyboard."""
        add_beat()
        self.panel.choose(self.ui.sequenceBox, "Cine")
        self.panel.choose(self.ui.outlinesBox, "Ventricle")

    def cells(self, row: int) -> list[str]:
        table = self.ui.motionTable
        return [table.item(row, column).text() for column in range(table.columnCount)]


def add_beat() -> Any:
    """Add a sequence of slices with a disc that contracts and comes back, and its outline at first."""
    j, i = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Cine")
    scratch = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "frame")
    scratch.SetSpacing(1.5, 1.5, 8.0)
    for number in range(FRAMES):
        scale = 1 - 0.2 * np.sin(np.pi * number / FRAMES)
        inside = 1 / (1 + np.exp((np.hypot(i, j) - 8 * scale) / 0.7))
        texture = 1 + 0.2 * np.sin(i / scale / 1.7) * np.cos(j / scale / 2)
        slicer.util.updateVolumeFromArray(scratch, (20 * inside * texture)[None].astype(np.float32))
        sequence.SetDataNodeAtValue(scratch, str(40 * number))
    slicer.util.updateVolumeFromArray(scratch, (np.hypot(i, j) < 8)[None].astype(np.uint8))
    outline = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Ventricle")
    outline.SetSpacing(1.5, 1.5, 8.0)
    outline.SetAndObserveImageData(scratch.GetImageData())
    slicer.mrmlScene.RemoveNode(scratch)
    return sequence


@pytest.fixture
def tab(panel: Bench) -> Tab:
    return Tab(panel)


def test_an_empty_scene_says_what_is_missing(tab: Tab) -> None:
    assert tab.sentence == "Choose the sequence of frames."
    assert not tab.ui.seriesButton.isEnabled()
    assert not tab.ui.curvesButton.isEnabled()
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Empty")
    tab.panel.choose(tab.ui.sequenceBox, "Empty")
    assert "has 0 of the 2 frames" in tab.sentence


def test_from_the_click_to_the_curves(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    tab.fill()
    assert tab.sentence == "Ready."
    assert tab.ui.referenceBox.maximum == FRAMES - 1
    tab.panel.click(tab.ui.seriesButton)
    tab.panel.wait(lambda: tab.sentence.startswith("Done in"))
    assert tab.ui.motionTable.rowCount == FRAMES
    assert tab.cells(0) == ["0", "0.00", "0.00", "0.00"]
    assert tab.panel.names("vtkMRMLSequenceNode") == ["Cine", "Cine motion transforms"]
    assert tab.panel.names("vtkMRMLTableNode") == ["Cine motion figures"]
    shown: list[Any] = []
    plots = SimpleNamespace(logic=lambda: SimpleNamespace(ShowChartInLayout=shown.append))
    monkeypatch.setattr(slicer.modules, "plots", plots, raising=False)
    tab.panel.click(tab.ui.curvesButton)
    assert [chart.GetName() for chart in shown] == ["Cine motion change of size"]


def test_the_method_is_that_of_the_tab_register(tab: Tab) -> None:
    tab.panel.parameters.model = "none"
    tab.panel.parameters.iterations = 30
    tab.fill()
    tab.panel.click(tab.ui.seriesButton)
    tab.panel.wait(lambda: tab.sentence.startswith("Done in"))
    (record,) = tab.panel.nodes("vtkMRMLTextNode")
    assert '"reference": 0' in record.GetText()
    request = tab.tab._asked().request(1)
    assert (request.model, request.refine, request.init, request.slicewise) == ("none", 30, ("none",), False)
    tab.panel.parameters.model = ""
    assert tab.tab._asked().request(1).preset == "cardiac-cine"


def test_choices_and_result_are_saved_with_the_scene(tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tab.fill()
    for _ in range(3):
        QTest.keyClick(tab.ui.referenceBox, QtCore.Qt.Key.Key_Up)
    assert tab.panel.parameters.reference == 3
    tab.panel.click(tab.ui.seriesButton)
    tab.panel.wait(lambda: tab.sentence.startswith("Done in"))
    figures = [tab.cells(row) for row in range(FRAMES)]
    assert figures[3] == ["3", "0.00", "0.00", "0.00"]
    save_and_load(tab.panel, tmp_path)
    assert tab.ui.sequenceBox.currentNode().GetName() == "Cine"
    assert tab.ui.outlinesBox.currentNode().GetName() == "Ventricle"
    assert (tab.ui.referenceBox.value, tab.ui.referenceBox.maximum) == (3, FRAMES - 1)
    assert [tab.cells(row) for row in range(FRAMES)] == figures
    assert tab.sentence == "Ready."
    shown: list[Any] = []
    plots = SimpleNamespace(logic=lambda: SimpleNamespace(ShowChartInLayout=shown.append))
    monkeypatch.setattr(slicer.modules, "plots", plots, raising=False)
    tab.panel.click(tab.ui.curvesButton)
    assert [chart.GetName() for chart in shown] == ["Cine motion change of size"]
    asked = tab.tab._asked()
    assert (asked.sequence.GetName(), asked.reference, asked.labels.GetName()) == ("Cine", 3, "Ventricle")


def test_a_scene_without_a_series_shows_none(tab: Tab, tmp_path: Path) -> None:
    tab.fill()
    tab.panel.parameters.reference = 2
    assert tab.ui.referenceBox.value == 2
    tab.panel.scene.Clear(False)
    tab.panel.look()
    assert tab.ui.sequenceBox.currentNode() is None
    assert (tab.ui.referenceBox.value, tab.panel.parameters.reference) == (0, 0)
    assert tab.ui.motionTable.rowCount == 0


def test_a_shorter_sequence_has_a_last_frame(tab: Tab) -> None:
    tab.fill()
    tab.panel.parameters.reference = 4
    shorter = tab.panel.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Shorter")
    for number in range(3):
        shorter.SetDataNodeAtValue(tab.ui.sequenceBox.currentNode().GetNthDataNode(number), str(number))
    tab.panel.choose(tab.ui.sequenceBox, "Shorter")
    assert (tab.ui.referenceBox.value, tab.panel.parameters.reference) == (2, 2)
    assert tab.sentence == "Ready."


def test_cancel_and_crash_leave_the_scene_alone(open_panel: OpenPanel) -> None:
    tab = Tab(open_panel("slow"))
    tab.fill()
    before = tab.panel.scene.GetNumberOfNodes()
    tab.panel.click(tab.ui.seriesButton)
    assert tab.ui.seriesButton.text == "&Cancel"
    assert not tab.ui.sequenceBox.isEnabled()
    tab.panel.wait(lambda: tab.sentence.startswith("Frame 1 of 4"))
    tab.panel.click(tab.ui.seriesButton)
    tab.panel.wait(lambda: not tab.panel.busy, 5)
    assert tab.sentence == "Cancelled. Nothing was added to the scene."
    assert tab.panel.scene.GetNumberOfNodes() == before
    assert tab.ui.seriesButton.text == "&Register all frames"
    crashing = Tab(open_panel("crash"))
    crashing.panel.choose(crashing.ui.sequenceBox, "Cine")
    crashing.panel.click(crashing.ui.seriesButton)
    crashing.panel.wait(lambda: "crashed" in crashing.sentence)
    assert crashing.sentence.startswith("Frame 1: ")
    assert crashing.ui.seriesSentence.text.startswith("<b>")


def test_the_tabs_wait_for_each_other(open_panel: OpenPanel) -> None:
    tab = Tab(open_panel("slow"))
    tab.fill()
    panel = tab.panel
    panel.parameters.fixed, panel.parameters.moving = add_ball("A"), add_ball("B")
    panel.click(tab.ui.seriesButton)
    assert not panel.ui.registerButton.isEnabled()
    assert "cine series is being registered" in panel.sentence
    panel.click(tab.ui.seriesButton)
    panel.wait(lambda: not panel.busy, 5)
    assert "cine series" not in panel.sentence


def test_closing_the_scene_stops_it(open_panel: OpenPanel) -> None:
    tab = Tab(open_panel("slow"))
    tab.fill()
    tab.panel.click(tab.ui.seriesButton)
    tab.panel.scene.Clear()
    tab.panel.wait(lambda: not tab.panel.busy, 5)
    assert tab.sentence == "Choose the sequence of frames."
    assert tab.panel.names("vtkMRMLSequenceNode") == []


def test_with_the_real_engine_and_its_picture(open_panel: OpenPanel, pictures: Path) -> None:
    tab = Tab(open_panel(None))
    tab.fill()
    tab.panel.click(tab.ui.seriesButton)
    tab.panel.wait(lambda: tab.sentence.startswith(("Done in", "Frame 1: ")) and not tab.panel.busy, 240)
    assert tab.sentence.startswith("Done in"), tab.sentence
    change = [float(tab.cells(row)[3]) for row in range(FRAMES)]
    wanted = [100 * ((1 - 0.2 * np.sin(np.pi * n / FRAMES)) ** 2 - 1) for n in range(FRAMES)]
    np.testing.assert_allclose(change, wanted, atol=5)
    tab.panel.picture(pictures / "series.png")
    check(pictures / "series.png")


def test_tooltips_letters_and_the_tab_key() -> None:
    root = ElementTree.parse(UI).getroot()
    takes = [widget for widget in root.iter("widget") if widget.get("class") not in PLAIN]
    assert [widget.get("name") for widget in takes if widget.find("property[@name='toolTip']") is None] == []
    texts = [said.text or "" for said in root.iterfind(".//property[@name='text']/string")]
    letters = [text[text.index("&") + 1].lower() for text in texts if "&" in text]
    assert len(letters) == len(set(letters)), sorted(letters)
    assert not {"f", "e", "v", "h", "c"} & set(letters), "File, Edit, View, Help, and Cancel while it runs"
    assert [stop.text for stop in root.iter("tabstop")] == [widget.get("name") for widget in takes]
