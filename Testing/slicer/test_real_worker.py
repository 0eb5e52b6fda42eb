"""The engine's own worker: registrations, cancels and kills in one session, and the figures of the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib.logic import Logic
from AttentionRegistrationLib.request import Request
from regcore.cli.main import main
from regcore.grid import Grid
from regcore.image import Image

from .scenes import EVERYTHING, Heard, add_volume, finish, from_world, pump

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and process groups of Unix")
SHIFT = np.array([3.0, -2.0, 1.5])  # from fixed to moving, LPS mm
KILLS = 20
LATE = 3  # blows that may fall between a result and its arrival


@pytest.fixture(scope="module")
def engine() -> Iterator[Logic]:
    """A logic with the real worker, warm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        made = Logic()
    yield made
    made.close()


@pytest.fixture
def pair(scene: Any, awkward_grids: dict[str, Grid], blob: Any) -> tuple[Any, Any]:
    """A blob, and the same one moved."""
    volumes = []
    for name, grid, middle in (
        ("fixed", awkward_grids["rotated"], np.array([-30.0, 11.0, 106.0])),
        ("moving", awkward_grids["flipped"], np.array([-30.0, 11.0, 106.0]) + SHIFT),
    ):
        image: Image = blob(grid, tuple(middle - grid.centre), 5.0)
        volumes.append(add_volume(scene, grid, name, None, image.data.numpy()))
    return volumes[0], volumes[1]


def test_a_blob_finds_its_like(engine: Logic, pair: tuple[Any, Any]) -> None:
    heard = finish(engine, Request(*pair, init=("moments",), refine=20, outputs=EVERYTHING))
    outcome, hello = heard.done, engine.hello()
    assert hello is not None
    assert {"cpu"} <= {device["name"] for device in hello.devices}
    middle = np.array([-30.0, 11.0, 106.0])
    np.testing.assert_allclose(from_world(outcome.transform, middle), middle + SHIFT, atol=0.3)
    np.testing.assert_allclose(from_world(outcome.inverse, middle + SHIFT), middle, atol=0.3)
    assert slicer.util.arrayFromVolume(outcome.jacobian).min() > 0
    warped, fixed = (slicer.util.arrayFromVolume(node) for node in (outcome.warped, pair[0]))
    assert np.corrcoef(warped.ravel(), fixed.ravel())[0, 1] > 0.99
    fractions = [progress.fraction for progress in heard.progress]
    assert fractions == sorted(fractions)


def test_a_rigid_start_alone_is_a_linear_transform(engine: Logic, pair: tuple[Any, Any]) -> None:
    outcome = finish(engine, Request(*pair, init=("rigid",), refine=0)).done
    assert outcome.transform.IsA("vtkMRMLLinearTransformNode")
    middle = np.array([-30.0, 11.0, 106.0])
    np.testing.assert_allclose(from_world(outcome.transform, middle), middle + SHIFT, atol=0.5)


def test_two_slices_are_registered_in_their_plane(engine: Logic, scene: Any) -> None:
    axes = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    first = Grid.of((44, 40, 1), (1.0, 1.0, 4.0), (10, 20, 30), axes)
    above = Grid.of(first.size, first.spacing, first.origin + axes @ [0.0, 0.0, 5.0], axes)
    j, i = np.mgrid[:40, :44]
    volumes = [
        add_volume(scene, grid, name, None, 100 * np.exp(-((i - x) ** 2 + (j - y) ** 2) / 72)[None].astype(np.float32))
        for name, grid, x, y in (("fixed", first, 21, 20), ("moving", above, 24, 18))
    ]
    outcome = finish(engine, Request(*volumes, init=("moments",), refine=20, outputs=EVERYTHING)).done
    middle = first.to_world([21, 20, 0])
    np.testing.assert_allclose(from_world(outcome.transform, middle), middle + axes @ [3.0, -2.0, 5.0], atol=0.3)
    np.testing.assert_allclose(from_world(outcome.inverse, middle + axes @ [3.0, -2.0, 5.0]), middle, atol=0.3)


def test_the_command_line_finds_the_same(engine: Logic, pair: tuple[Any, Any], tmp_path: Path) -> None:
    paths = []
    for node in pair:
        storage = node.GetScene().AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        paths.append(str(tmp_path / f"{node.GetName()}.nii.gz"))
        storage.SetFileName(paths[-1])
        assert storage.WriteData(node)
    assert main(["register", *paths, "-o", str(tmp_path / "out"), "--init", "moments", "--refine", "20", "-q"]) == 0
    outcome = finish(engine, Request(*pair, init=("moments",), refine=20, outputs=EVERYTHING)).done
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    for name in ("similarity", "folding_percent", "sdlogj", "jacobian", "round_trip_mm"):
        assert outcome.report[name] == pytest.approx(report[name], abs=1e-4), name
    itk = sitk.ReadTransform(str(tmp_path / "out" / "transform.h5"))
    rng = np.random.default_rng(1)
    for offset in rng.uniform(-8, 8, (20, 3)):
        point = np.array([-30.0, 11.0, 106.0]) + offset
        # ITK is linear between voxels, Slicer cubic.
        np.testing.assert_allclose(from_world(outcome.transform, point), itk.TransformPoint(point.tolist()), atol=0.02)


def test_bad_input_is_a_sentence_and_the_worker_stays(engine: Logic, pair: tuple[Any, Any]) -> None:
    assert finish(engine, Request(*pair, model="nonsense")).failed.code == "bad_input"
    pid = engine._client.pid
    assert finish(engine, Request(*pair, init=("centre",), refine=0)).done
    assert engine._client.pid == pid


def test_cancel_keeps_the_worker(engine: Logic, pair: tuple[Any, Any]) -> None:
    heard = Heard()
    engine.start(Request(*pair, init=("centre",), refine=20_000), heard)
    pump(engine, lambda: any(progress.fraction > 0.1 for progress in heard.progress) or not engine.busy)
    pid, began = engine._client.pid, time.monotonic()
    engine.cancel()
    pump(engine, lambda: not engine.busy, 5)
    assert time.monotonic() - began < 2
    assert heard.failed.sentence == "Cancelled. Nothing was added to the scene."
    assert finish(engine, Request(*pair, init=("centre",), refine=0)).done
    assert engine._client.pid == pid


@pytest.mark.slow
def test_twenty_kills_and_cancels_in_one_session(engine: Logic, pair: tuple[Any, Any], temporary: Path) -> None:
    chance = random.Random(20)
    workers: set[int] = set()
    scene = pair[0].GetScene()
    finish(engine, Request(*pair, init=("centre",), refine=0)).done  # noqa: B018
    number = late = 0
    while number < KILLS:
        how, after = ("kill", "cancel")[number % 2], chance.uniform(0.0, 0.5)
        heard, before = Heard(), scene.GetNumberOfNodes()
        engine.start(Request(*pair, init=("centre",), refine=20_000, outputs=EVERYTHING), heard)
        if number % 4 < 2:  # else most are hit while the engine starts or reads
            begun = lambda heard=heard: any(progress.fraction > 0.1 for progress in heard.progress)  # noqa: E731
            pump(engine, lambda begun=begun: begun() or not engine.busy)
        until = time.monotonic() + after
        # A worker that dies before it was asked is replaced, and nobody need know.
        due = lambda until=until: time.monotonic() > until and (engine._job.waits or not engine._worker.ready)  # noqa: E731
        pump(engine, lambda due=due: not engine.busy or due())
        if not engine.busy:  # quicker than the blow
            assert heard.done
            continue
        number += 1
        pid = engine._client.pid
        assert pid is not None
        workers.add(pid)
        if how == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            engine.cancel()
        pump(engine, lambda: not engine.busy, 5)
        if heard.outcome is not None:  # its result was on the way already
            late += 1
            assert late <= LATE
            continue
        said = heard.failed.sentence
        assert said.startswith("Cancelled." if how == "cancel" else "The registration engine"), said
        assert scene.GetNumberOfNodes() == before
        assert finish(engine, Request(*pair, init=("centre",), refine=0)).done
    assert engine._client.pid is not None
    for pid in workers - {engine._client.pid}:
        with pytest.raises(ProcessLookupError):  # not even a zombie
            os.kill(pid, 0)
    end = time.monotonic() + 5
    while list(temporary.iterdir()) and time.monotonic() < end:
        time.sleep(0.01)
    assert list(temporary.iterdir()) == []
