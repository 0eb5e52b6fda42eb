"""The worker says how a frame has moved, with labels of the reference alone."""

import numpy as np
import pytest

from regcore.grid import Grid
from regcore.worker import job
from regcore.worker.protocol import Outputs, Refused, Register, Volume, parse

GRID = Grid.of((40, 36), (1.0, 1.25), (5.0, -7.0))
SHRINK = 0.85


def volume(folder, name, array, grid=GRID):
    np.save(folder / f"{name}.npy", array)
    return Volume(f"{name}.npy", grid.spacing, grid.origin, grid.direction)


def picture(scale):
    x, y = np.moveaxis((GRID.points().numpy() - GRID.centre) / scale, -1, 0)
    return (100 / (1 + np.exp(np.hypot(x, y) - 11)) + 9 * np.sin(x / 2) * np.cos(y / 2)).astype(np.float32)


def asked(folder, labels=None, outputs=None):
    return Register(
        "1",
        folder,
        volume(folder, "fixed", picture(1.0)),
        volume(folder, "moving", picture(SHRINK)),
        fixed_labels=labels,
        settings={"device": "cpu", "init": ["none"]},
        outputs=outputs or Outputs(motion=True),
    )


def done(request):
    return job.run(request, lambda *_: None, lambda: False)


def test_the_report_holds_motion_and_sizes(tmp_path):
    # Outlines come cropped to what is drawn.
    part = Grid.of((30, 26), GRID.spacing, GRID.to_world((5, 5)).tolist())
    inside = np.linalg.norm(part.points().numpy() - GRID.centre, axis=-1) < 10
    found = done(asked(tmp_path, volume(tmp_path, "labels", 2 * inside.astype(np.uint8), part))).report["motion"]
    assert found["labels"]["2"]["reference_mm2"] == pytest.approx(inside.sum() * 1.25)
    assert found["labels"]["2"]["change_percent"] == pytest.approx(100 * (SHRINK**2 - 1), abs=3)
    assert 0 < found["mean_mm"] < found["max_mm"]
    assert done(asked(tmp_path)).report["motion"]["labels"] == {}


def test_without_being_asked_for_there_is_none_and_one_side_of_labels_is_half(tmp_path):
    assert "motion" not in done(asked(tmp_path, outputs=Outputs())).report
    labels = volume(tmp_path, "labels", np.ones(GRID.shape, np.uint8))
    with pytest.raises(ValueError, match="both images"):
        done(asked(tmp_path, labels, Outputs()))


def test_the_message_may_ask_for_it(tmp_path):
    part = '{"array": "a.npy", "spacing": [1, 1], "origin": [0, 0], "direction": [1, 0, 0, 1]}'
    line = '{"type": "register", "id": "1", "folder": "%s", "fixed": %s, "moving": %s, "outputs": {"motion": %s}}'
    assert parse((line % (tmp_path, part, part, "true")).encode()).outputs == Outputs(motion=True)
    with pytest.raises(Refused, match="attention and motion"):
        parse((line % (tmp_path, part, part, "1")).encode())
