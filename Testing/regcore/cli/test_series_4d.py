"""`regcore series` on 4D files: a slice anywhere in space, stacks of slices, and what a user may get wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ...conftest import GRIDS
from .test_series_command import RADIUS, SHRINKS, SIZE, SPACING, disc, frame, moved, refused, run

ORIGIN, THICK, STEP = (31.0, -44.0, 120.0), 8.0, 0.04
AXES = GRIDS["mirrored"].axes
CENTRE = AXES @ [*((np.array(SIZE) - 1) / 2 * SPACING), 0.0] + ORIGIN


def write(path: Path, array: np.ndarray) -> Path:
    """Write ``(t, k, j, i)``, or one volume ``(k, j, i)``, in a direction that is turned and mirrored."""
    image = sitk.GetImageFromArray(array, isVector=False)
    timed = array.ndim == 4
    axes = np.eye(array.ndim)
    axes[:3, :3] = AXES
    image.SetSpacing((*SPACING, THICK, *[STEP] * timed))
    image.SetOrigin((*ORIGIN, *[0.2] * timed))
    image.SetDirection(axes.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def frames() -> np.ndarray:
    return np.stack([frame(shrink) for shrink in SHRINKS])


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write(folder / "labels.nrrd", disc()[None])
    return write(folder / "series.nii.gz", frames()[:, None])


@pytest.fixture(scope="module")
def out(series, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert run("series", series, "-o", folder, "--labels", series.parent / "labels.nrrd", "-q") == 0
    return folder


def test_a_slice_is_registered_where_it_lies_in_space(out):
    summary = json.loads((out / "motion.json").read_text(encoding="utf-8"))
    assert summary["warnings"] == []
    assert summary["series"]["size"] == [*SIZE, 1, 3]
    assert summary["series"]["spacing"] == pytest.approx([*SPACING, THICK, STEP], abs=1e-5)
    for shrink, found in zip(SHRINKS, summary["frames"], strict=True):
        there = float(moved(np.array(RADIUS), shrink))
        assert found["labels"]["1"]["change_percent"] == pytest.approx(100 * ((there / RADIUS) ** 2 - 1), abs=3)
        transform = sitk.ReadTransform(str(out / f"frame_{found['frame']:03}.h5"))
        for way in (AXES[:, 0], AXES[:, 1], -AXES[:, :2] @ [0.6, 0.8]):
            went = transform.TransformPoint((CENTRE + RADIUS * way).tolist())
            np.testing.assert_allclose(went, CENTRE + there * way, atol=0.45)


def test_the_files_lie_where_the_series_does_and_itk_agrees(series, out):
    whole, warped = sitk.ReadImage(str(series)), sitk.ReadImage(str(out / "warped.nii.gz"))
    carried = sitk.ReadImage(str(out / "carried_labels.nii.gz"))
    for image in (warped, carried):
        assert image.GetSize() == whole.GetSize()
        for of in ("Spacing", "Origin", "Direction"):
            np.testing.assert_allclose(getattr(image, f"Get{of}")(), getattr(whole, f"Get{of}")(), atol=1e-4)
    for number in range(len(SHRINKS)):
        transform = sitk.ReadTransform(str(out / f"frame_{number:03}.h5"))
        itk = sitk.Resample(whole[..., number], whole[..., 0], transform, sitk.sitkLinear, 0.0)
        ours, theirs = (sitk.GetArrayFromImage(image)[0, 3:-3, 3:-3] for image in (warped[..., number], itk))
        np.testing.assert_allclose(ours, theirs, atol=1.0)  # of 800


def test_the_figures_are_those_of_the_same_slices_stored_as_a_volume(out, tmp_path):
    write(tmp_path / "labels.nrrd", np.stack([disc()] * 3))
    write(tmp_path / "series.nii.gz", frames())
    arguments = ("--labels", tmp_path / "labels.nrrd", "-q")
    assert run("series", tmp_path / "series.nii.gz", "-o", tmp_path / "out", *arguments) == 0
    flat, deep = (
        json.loads((folder / "motion.json").read_text(encoding="utf-8")) for folder in (tmp_path / "out", out)
    )
    assert [row["mean_mm"] for row in flat["frames"]] == pytest.approx([row["mean_mm"] for row in deep["frames"]])
    assert "do not lie in the x-y plane" in flat["warnings"][0]


def test_stacks_of_slices_are_registered_slice_by_slice(tmp_path):
    write(tmp_path / "series.nrrd", np.stack([[frame(shrink)] * 3 for shrink in SHRINKS[1:]]))
    write(tmp_path / "labels.nrrd", np.stack([[0 * disc()] * 3, [disc()] * 3]))
    arguments = ("--labels", tmp_path / "labels.nrrd", "--reference", 1, "--slicewise", "true", "-q")
    assert run("series", tmp_path / "series.nrrd", "-o", tmp_path / "out", *arguments) == 0
    summary = json.loads((tmp_path / "out" / "motion.json").read_text(encoding="utf-8"))
    label = summary["frames"][0]["labels"]["1"]
    voxels = 3 * disc().sum() * np.prod([*SPACING, THICK])
    assert label["reference_mm3"] == pytest.approx(voxels, rel=1e-3)
    assert label["volume_mm3"] > 1.02 * voxels
    assert sitk.ReadImage(str(tmp_path / "out" / "carried_labels.nii.gz")).GetSize() == (*SIZE, 3, 2)
    transform = sitk.ReadTransform(str(tmp_path / "out" / "frame_000.h5"))
    centre = CENTRE + THICK * AXES[:, 2]
    way = np.subtract(transform.TransformPoint((centre + RADIUS * AXES[:, 0]).tolist()), centre)
    assert way @ AXES[:, 0] > RADIUS + 0.3
    assert way @ AXES[:, 2] == pytest.approx(0, abs=1e-3)


def with_nan(path: Path) -> None:
    array = frames()[:, None]
    array[1, 0, 3, 4] = np.nan
    write(path, array)


def truncated(path: Path) -> None:
    write(path, frames()[:, None])
    path.write_bytes(path.read_bytes()[:-400])


def constant(path: Path) -> None:
    write(path, np.stack([frame(0)[None], np.full((1, *SIZE[::-1]), 7, np.float32)]))


BAD = [
    (with_nan, "series.mha", "frame 1: moving: expected finite voxels"),
    (with_nan, "series.nii", "series: expected finite voxels"),
    (truncated, "series.nii", "ends before its last voxel"),
    (constant, "series.nrrd", "frame 1: moving: every voxel has the same value"),
]


@pytest.mark.parametrize(("make", "name", "words"), BAD)
def test_bad_series(make, name, words, tmp_path, capsys):
    make(tmp_path / name)
    assert words in refused(capsys, tmp_path / "out", tmp_path / name)


def test_bad_labels(series, tmp_path, capsys):
    sitk.WriteImage(sitk.GetImageFromArray(disc()), str(tmp_path / "flat.nrrd"))
    elsewhere = sitk.GetImageFromArray(disc()[None])
    elsewhere.SetSpacing((*SPACING, THICK))
    sitk.WriteImage(elsewhere, str(tmp_path / "elsewhere.nrrd"))
    write(tmp_path / "halves.nrrd", disc()[None] / np.float32(2))
    write(tmp_path / "short.nrrd", np.stack([disc()[None]] * 2))
    for name, words in {
        "flat": "the grid of the reference frame, size (52, 40, 1)",
        "elsewhere": "the grid of the reference frame",
        "halves": "found fractions",
        "short": "a series of 3 frames, got 2",
    }.items():
        assert words in refused(capsys, tmp_path / "out", series, "--labels", tmp_path / f"{name}.nrrd")
    assert "2D already" in refused(capsys, tmp_path / "out", series, "--slicewise", "true")


def test_no_time_between_frames_is_no_fault(tmp_path):
    path = write(tmp_path / "series.nii", frames()[:2, None])
    content = bytearray(path.read_bytes())
    content[76 + 16 : 76 + 20] = bytes(4)  # pixdim[4]
    path.write_bytes(content)
    assert run("series", path, "-o", tmp_path / "out", "-q", "--refine", 2) == 0
