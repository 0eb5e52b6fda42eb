"""A sequence of slices: its transforms, table and curves in the scene; cancelled, spoilt, and by the real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib.events import RegistrationError
from AttentionRegistrationLib.logic import Logic
from AttentionRegistrationLib.nodes import to_vtk
from AttentionRegistrationLib.series import Series, SeriesRequest, register_sequence
from regcore.grid import Grid
from regcore.transform import RigidTransform

from .scenes import Heard, add_volume, from_world, pump, ras_matrix

AXES = RigidTransform.from_euler((-60.0, -12.0, 41.5), (0, 0, 0)).matrix  # an oblique slice
GRID = Grid.of((36, 32, 1), (1.2, 1.5, 8.0), (12.0, -40.0, 30.0), AXES)
SHRINKS = (0.0, 0.12, 0.2)
RADIUS = 10.0
TIMES = ("0", "0.05", "0.1")


def offsets() -> np.ndarray:
    """Every pixel's place against the middle (mm), along rows and columns."""
    i, j = np.meshgrid(*map(np.arange, GRID.size[:2]))
    return np.stack([(i - (GRID.size[0] - 1) / 2) * 1.2, (j - (GRID.size[1] - 1) / 2) * 1.5], -1)


def picture(shrink: float) -> np.ndarray:
    """A disc with waves in it after everything has come closer to the middle."""
    x, y = np.moveaxis(offsets() / (1 - shrink), -1, 0)
    edge = np.hypot(x, y) - RADIUS
    return (500 / (1 + np.exp(edge / 0.8)) + 60 * np.sin(x / 2) * np.cos(y / 2.3))[None].astype(np.float32)


def add_sequence(scene: Any, pictures: list[np.ndarray], grid: Grid = GRID, name: str = "Cine") -> Any:
    """A sequence node of volumes."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    for time, voxels in zip(TIMES, pictures, strict=True):
        frame = slicer.vtkMRMLScalarVolumeNode()
        frame.SetName("frame")
        frame.SetIJKToRASMatrix(to_vtk(ras_matrix(grid)))
        frame.SetAndObserveImageData(slicer.util.addVolumeFromArray(voxels).GetImageData())
        sequence.SetDataNodeAtValue(frame, time)
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
        scene.RemoveNode(volume)
    return sequence


@pytest.fixture
def sequence(scene: Any) -> Any:
    """Three frames, whose brightest voxels the pretended worker takes for how far they moved."""
    return add_sequence(scene, [np.full(GRID.shape, 3.0 * n, np.float32) + np.eye(*GRID.shape[1:]) for n in range(3)])


@pytest.fixture
def labels(scene: Any) -> Any:
    disc = (np.linalg.norm(offsets(), axis=-1) < RADIUS)[None].astype(np.uint8)
    volume = add_volume(scene, GRID, "Disc", None, disc)
    made = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Outline")
    made.SetIJKToRASMatrix(to_vtk(ras_matrix(GRID)))
    made.SetAndObserveImageData(volume.GetImageData())
    scene.RemoveNode(volume)
    return made


def column(table: Any, name: str) -> list[float]:
    found = table.GetTable().GetColumnByName(name)
    return [found.GetValue(row) for row in range(found.GetNumberOfTuples())]


@pytest.mark.parametrize("reference", [0, 1, 2])
def test_transforms_table_and_curves_lie_in_one_folder(
    scene: Any, logic: Logic, sequence: Any, labels: Any, reference: int
) -> None:
    browser = scene.AddNode(slicer.vtkMRMLSequenceBrowserNode())
    browser.AddSynchronizedSequenceNode(sequence)
    outcome = register_sequence(sequence, reference, labels, logic)
    transforms = outcome.transforms
    assert transforms.GetName() == "Cine motion transforms"
    assert [transforms.GetNthIndexValue(n) for n in range(3)] == list(TIMES)
    kinds = {transforms.GetNthDataNode(n).GetClassName() for n in range(3)}
    assert kinds == {"vtkMRMLGridTransformNode"}
    assert browser.IsSynchronizedSequenceNode(transforms, False)
    sequences = slicer.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(scene)
    middle = GRID.to_world([17.5, 15.5, 0])
    for n in range(3):
        browser.SetSelectedItemNumber(n)
        sequences.UpdateProxyNodesFromSequences(browser)
        went = np.linalg.norm(from_world(browser.GetProxyNode(transforms), middle) - middle)
        assert went == pytest.approx(0, abs=1e-6) if n == reference else went > 1
    moved = [0.0 if n == reference else 3.0 * n + 1 for n in range(3)]
    assert column(outcome.table, "time (s)") == [0.0, 0.05, 0.1]
    assert column(outcome.table, "mean displacement (mm)") == pytest.approx(moved)
    assert column(outcome.table, "label 1 area (mm2)") == pytest.approx([100 - far for far in moved])
    assert column(outcome.table, "label 1 change (%)") == pytest.approx([-far for far in moved])
    assert [chart.GetNumberOfPlotSeriesNodes() for chart in outcome.charts] == [3, 1]
    for chart in outcome.charts:
        for n in range(chart.GetNumberOfPlotSeriesNodes()):
            curve = chart.GetNthPlotSeriesNode(n)
            assert outcome.table.GetTable().GetColumnByName(curve.GetYColumnName()) is not None
            assert curve.GetXColumnName() == "time (s)"
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node in (transforms, outcome.table, outcome.record, *outcome.charts):
        assert tree.GetItemParent(tree.GetItemByDataNode(node)) == outcome.folder


def test_the_reference_stays_and_other_frames_go_where_the_worker_says(logic: Logic, sequence: Any, scene: Any) -> None:
    outcome = register_sequence(sequence, 0, logic=logic)
    middle = GRID.to_world([17.5, 15.5, 0])
    found = [scene.AddNode(outcome.transforms.GetNthDataNode(n)) for n in range(2)]
    np.testing.assert_allclose(from_world(found[0], middle), middle, atol=1e-6)
    assert np.linalg.norm(from_world(found[1], middle) - middle) > 1
    assert len(outcome.charts) == 1
    assert [frame["labels"] for frame in outcome.motion] == [{}, {}, {}]


def test_cancel_in_the_middle_leaves_the_scene_as_it_was(
    make_logic: Callable[..., Logic], scene: Any, sequence: Any
) -> None:
    logic, heard = make_logic("slow"), Heard()
    before = scene.GetNumberOfNodes()
    Series(logic, SeriesRequest(sequence), heard).start()
    pump(logic, lambda: any("frame 1 of 2" in progress.stage and progress.fraction for progress in heard.progress))
    logic.cancel()
    pump(logic, lambda: not logic.busy, 5)
    assert heard.failed.sentence == "Cancelled. Nothing was added to the scene."
    assert heard.ends == 1
    assert scene.GetNumberOfNodes() == before


def test_progress_is_that_of_the_whole_series(logic: Logic, sequence: Any) -> None:
    told: list[Any] = []
    register_sequence(sequence, 1, logic=logic, on_progress=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] >= 0.5  # the second of two
    assert any(progress.stage.startswith("frame 0 of 2") for progress in told)


def test_a_sequence_that_goes_meanwhile_is_said(make_logic: Callable[..., Logic], scene: Any, sequence: Any) -> None:
    logic, heard = make_logic("well"), Heard()
    Series(logic, SeriesRequest(sequence), heard).start()
    scene.RemoveNode(sequence)
    pump(logic, lambda: not logic.busy)
    assert "changed or removed" in heard.failed.sentence
    assert heard.ends == 1


def test_a_frame_that_fails_is_named(logic: Logic, scene: Any, sequence: Any) -> None:
    with pytest.raises(RegistrationError, match="Frame 1: Memory ran out"):
        register_sequence(sequence, logic=logic, model="refuse")
    sequence.GetNthDataNode(2).SetAndObserveImageData(None)
    before = scene.GetNumberOfNodes()
    with pytest.raises(RegistrationError, match="Frame 2: moving: 'frame' has no voxels"):
        register_sequence(sequence, logic=logic)
    assert scene.GetNumberOfNodes() == before


def test_what_is_no_series_is_refused(logic: Logic, scene: Any, sequence: Any) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Empty")
    tables = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Tables")
    for time in TIMES:
        tables.SetDataNodeAtValue(slicer.vtkMRMLTableNode(), time)
    for node, reference, words in (
        (None, 0, "Choose the sequence"),
        (empty, 0, "'Empty' has 0 of the 2 frames"),
        (tables, 0, "other nodes than scalar volumes"),
        (sequence, 3, "from 0 to 2, got 3"),
        (sequence, -1, "from 0 to 2, got -1"),
    ):
        with pytest.raises(ValueError, match=words):
            register_sequence(node, reference, logic=logic)


@pytest.fixture(scope="module")
def engine() -> Iterator[Logic]:
    """A logic with the real worker, warm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        made = Logic()
    yield made
    made.close()


def test_a_contraction_is_measured_by_the_real_engine(engine: Logic, scene: Any, labels: Any) -> None:
    sequence = add_sequence(scene, [picture(shrink) for shrink in SHRINKS])
    outcome = register_sequence(sequence, 0, labels, engine, preset="cardiac-cine")
    wanted = [100 * ((1 - shrink) ** 2 - 1) for shrink in SHRINKS]
    np.testing.assert_allclose(column(outcome.table, "label 1 change (%)"), wanted, atol=3)
    assert column(outcome.table, "label 1 mean displacement (mm)")[2] == pytest.approx(0.2 * RADIUS * 2 / 3, abs=0.3)
    middle = GRID.to_world([17.5, 15.5, 0])
    for number, shrink in enumerate(SHRINKS):
        transform = scene.AddNode(outcome.transforms.GetNthDataNode(number))
        for along in (AXES[:, 0], -AXES[:, 1]):
            # Points of the reference are nearer to the middle in the frame.
            there = from_world(transform, middle + RADIUS * along)
            np.testing.assert_allclose(there, middle + (1 - shrink) * RADIUS * along, atol=0.5)


def test_stacks_are_measured_in_their_slices(engine: Logic, scene: Any) -> None:
    grid = Grid.of((*GRID.size[:2], 4), GRID.spacing, GRID.origin, AXES)
    sequence = add_sequence(scene, [np.repeat(picture(shrink), 4, axis=0) for shrink in SHRINKS], grid)
    disc = (np.linalg.norm(offsets(), axis=-1) < RADIUS)[None].repeat(4, 0).astype(np.uint8)
    labels = add_volume(scene, grid, "Discs", None, disc)
    outcome = register_sequence(sequence, 0, labels, engine, preset="cardiac-cine")
    change = column(outcome.table, "label 1 change (%)")
    np.testing.assert_allclose(change, [100 * ((1 - shrink) ** 2 - 1) for shrink in SHRINKS], atol=4)
    assert column(outcome.table, "label 1 volume (mm3)")[0] == pytest.approx(disc.sum() * 1.2 * 1.5 * 8.0, rel=1e-4)
