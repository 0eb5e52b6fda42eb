"""`regcore series`: a disc that contracts by a known amount, and what a user may get wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from regcore.cli.main import main
from regcore.progress import Cancelled

SIZE, SPACING, ORIGIN, ANGLE = (52, 40), (1.1, 1.4), (21.0, -34.0), np.deg2rad(25)
AXES = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
SHRINKS = (0.0, 0.12, 0.25)
RADIUS = 9.0
CENTRE = AXES @ ((np.array(SIZE) - 1) / 2 * SPACING) + ORIGIN
FILES = ["carried_labels.nii.gz", "frame_000.h5", "frame_001.h5", "frame_002.h5", "motion.csv", "motion.json"]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def moved(radius: np.ndarray, shrink: float) -> np.ndarray:
    """Where points of the first frame go, by their distance from the middle."""
    return radius * (1 - shrink * np.exp(-((radius / 16) ** 4)))


def offsets() -> np.ndarray:
    """Every pixel's place against the middle (mm), ``(rows, columns, 2)``."""
    i, j = np.meshgrid(*map(np.arange, SIZE))
    return np.stack([i - (SIZE[0] - 1) / 2, j - (SIZE[1] - 1) / 2], -1) * SPACING @ AXES.T


def frame(shrink: float) -> np.ndarray:
    """A disc and a ring with waves in them, seen after all points have moved."""
    here = offsets()
    radius = np.linalg.norm(here, axis=-1)
    line = np.linspace(0, 60, 2000)
    before = np.interp(radius, moved(line, shrink), line)
    x, y = np.moveaxis(here * (before / np.maximum(radius, 1e-6))[..., None], -1, 0)
    disc, ring = (1 / (1 + np.exp((before - edge) / 0.7)) for edge in (RADIUS, 15.0))
    return (500 * disc + 300 * ring + 60 * np.sin(x / 2) * np.cos(y / 2.3)).astype(np.float32)


def write(path: Path, array: np.ndarray, spacing: float = 30.0) -> Path:
    image = sitk.GetImageFromArray(array)
    flat = array.ndim == 2
    axes = AXES if flat else np.block([[AXES, np.zeros((2, 1))], [np.zeros((1, 2)), np.eye(1)]])
    image.SetSpacing(SPACING if flat else (*SPACING, spacing))
    image.SetOrigin(ORIGIN if flat else (*ORIGIN, 5.0))
    image.SetDirection(axes.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def disc() -> np.ndarray:
    return (np.linalg.norm(offsets(), axis=-1) < RADIUS).astype(np.uint8)


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write(folder / "labels.nrrd", disc())
    return write(folder / "series.nii.gz", np.stack([frame(shrink) for shrink in SHRINKS]))


@pytest.fixture(scope="module")
def out(series, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "not" / "there yet"
    assert run("series", series, "-o", folder, "--labels", series.parent / "labels.nrrd", "-q") == 0
    return folder


def test_the_known_contraction_is_recovered(out):
    assert sorted(path.name for path in out.iterdir()) == [*FILES, "report.html", "warped.nii.gz"]
    summary = json.loads((out / "motion.json").read_text(encoding="utf-8"))
    assert summary["warnings"] == []
    for shrink, found in zip(SHRINKS, summary["frames"], strict=True):
        there = float(moved(np.array(RADIUS), shrink))
        assert found["labels"]["1"]["change_percent"] == pytest.approx(100 * ((there / RADIUS) ** 2 - 1), abs=3)
        transform = sitk.ReadTransform(str(out / f"frame_{found['frame']:03}.h5"))
        # Points of the reference go inwards, to where the frame has them.
        for way in ([1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]):
            went = transform.TransformPoint((CENTRE + np.multiply(way, RADIUS)).tolist())
            np.testing.assert_allclose(went, CENTRE + np.multiply(way, there), atol=0.45)
    assert [found["mean_mm"] for found in summary["frames"]] == sorted(found["mean_mm"] for found in summary["frames"])
    first = summary["frames"][0]
    assert (first["mean_mm"], first["max_mm"], first["labels"]["1"]["change_percent"]) == (0, 0, 0)


def test_files_lie_where_the_series_does_and_agree(series, out):
    whole = sitk.ReadImage(str(series))
    warped, labels = (sitk.ReadImage(str(out / f"{name}.nii.gz")) for name in ("warped", "carried_labels"))
    for image in (warped, labels):
        np.testing.assert_allclose(image.GetDirection(), whole.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), whole.GetOrigin(), atol=1e-4)
    before, after = (sitk.GetArrayFromImage(image) for image in (whole, warped))
    assert np.abs(after - before[0]).mean() < 0.35 * np.abs(before - before[0]).mean()
    counts = sitk.GetArrayFromImage(labels).sum(axis=(1, 2)) * np.prod(SPACING)
    with (out / "motion.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["label_1_area_mm2"]) for row in rows], counts, rtol=0.1)
    assert [row["frame"] for row in rows] == ["0", "1", "2"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<polyline") == 4  # mean, largest and the label's length; the label's area
    assert str(out.parent) not in page


def test_a_series_of_one_picture_does_not_move(tmp_path):
    write(tmp_path / "still.nii.gz", np.stack([frame(0.1)] * 2))
    still = write(tmp_path / "labels.nii.gz", np.stack([0 * disc(), disc()]))
    arguments = ("--labels", still, "--reference", 1, "--json", "--preset", "cardiac-cine")
    assert run("series", tmp_path / "still.nii.gz", "-o", tmp_path / "out", *arguments) == 0
    frames = json.loads((tmp_path / "out" / "motion.json").read_text(encoding="utf-8"))["frames"]
    for found in frames:
        assert found["max_mm"] < 0.02
        assert abs(found["labels"]["1"]["change_percent"]) < 0.1


def constant(folder: Path) -> Path:
    return write(folder / "flat.nii.gz", np.stack([frame(0), np.full(SIZE[::-1], 7, np.float32)]))


def with_nan(folder: Path) -> Path:
    array = np.stack([frame(0), frame(0.1)])
    array[1, 3, 4] = np.nan
    return write(folder / "nan.mha", array)


def one_frame(folder: Path) -> Path:
    return write(folder / "one.nii.gz", frame(0)[None])


def plane(folder: Path) -> Path:
    return write(folder / "plane.nii.gz", frame(0))


BAD = {
    constant: "frame 1: moving: every voxel has the same value",
    with_nan: "frame 1: moving: expected finite voxels",
    one_frame: "one slice of a volume",
    plane: "third axis is time",
}


def refused(capsys, out: Path, *arguments: object, code: int = 2) -> str:
    """Run, expect the exit code, one line on standard error and no trace of the output; return the line."""
    assert run("series", *arguments, "-o", out, "-q") == code
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert not out.exists()
    return said.err


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_series(make, tmp_path, capsys):
    assert BAD[make] in refused(capsys, tmp_path / "deep" / "out", make(tmp_path))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--reference", "3", "from 0 to 2, got 3"),
        ("--reference", "-1", "from 0 to 2, got -1"),
        ("--labels", "SMALL", "the grid of the reference frame"),
        ("--labels", "SHORT", "a series of 3 frames, got 2"),
        ("--labels", "EMPTY", "no label above 0"),
        ("--init", "landmarks", "not from landmarks"),
        ("--model", "pan", "pan does not register 2D"),
        ("--slicewise", "true", "2D already"),
    ],
)
def test_bad_option(option, value, words, series, tmp_path, capsys):
    arrays = {"SMALL": disc()[:-1], "SHORT": np.stack([disc()] * 2), "EMPTY": 0 * disc()}
    if value in arrays:
        value = write(tmp_path / "labels.nrrd", arrays[value])
    assert words in refused(capsys, tmp_path / "out", series, option, value)


def test_cancel_leaves_nothing(series, tmp_path, capsys, monkeypatch):
    def cancel(*_, **__):
        raise Cancelled

    monkeypatch.setattr("regcore.cli.series.register_series", cancel)
    assert "cancelled" in refused(capsys, tmp_path / "out", series, code=4)


def test_the_cine_phantom_moves_over_time(tmp_path, capsys):
    assert run("phantom", "cine", "--frames", 2, "-o", tmp_path) == 0
    images = [sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("series", "labels")]
    assert [image.GetSize() for image in images] == [(128, 128, 2)] * 2
    left = (sitk.GetArrayFromImage(images[1]) == 3).sum(axis=(1, 2))
    assert left[1] < 0.8 * left[0]
    assert run("phantom", "brain", "--frames", 2, "-o", tmp_path / "no") == 2
    assert "only the cine phantom" in capsys.readouterr().err
