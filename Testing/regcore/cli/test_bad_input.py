"""Mistakes a user makes: one sentence, exit code 2, nothing left behind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from regcore.cli.main import main
from regcore.progress import Cancelled


def write(path: Path, array: np.ndarray, origin: float = 0.0, vector: bool = False) -> Path:
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetOrigin([origin] * image.GetDimension())
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def good(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    return write(tmp_path / "good.nii.gz", rng.random((20, 20, 20)).astype(np.float32))


def no_file(folder: Path) -> Path:
    return folder / "missing.nii.gz"


def no_image(folder: Path) -> Path:
    (folder / "text.nii.gz").write_text("not an image", encoding="utf-8")
    return folder / "text.nii.gz"


def with_nan(folder: Path) -> Path:
    array = np.random.default_rng(1).random((20, 20, 20)).astype(np.float32)
    array[3, 4, 5] = np.nan
    return write(folder / "nan.nii.gz", array)


def nan_in_mha(folder: Path) -> Path:
    image = sitk.ReadImage(str(write(folder / "x.mha", np.zeros((20, 20, 20), np.float32))))
    image[3, 4, 5] = float("nan")
    sitk.WriteImage(image, str(folder / "nan.mha"))
    return folder / "nan.mha"


def constant(folder: Path) -> Path:
    return write(folder / "flat.nii.gz", np.full((20, 20, 20), 7, np.int16))


def colour(folder: Path) -> Path:
    return write(
        folder / "colour.nii.gz", np.random.default_rng(2).random((20, 20, 20, 3)).astype(np.float32), 0.0, True
    )


def four_d(folder: Path) -> Path:
    return write(folder / "time.nii.gz", np.random.default_rng(3).random((3, 20, 20, 20)).astype(np.float32))


def one_slice(folder: Path) -> Path:
    return write(folder / "slice.nii.gz", np.random.default_rng(4).random((1, 20, 20)).astype(np.float32))


def plane(folder: Path) -> Path:
    return write(folder / "plane.nii.gz", np.random.default_rng(5).random((20, 20)).astype(np.float32))


def elsewhere(folder: Path) -> Path:
    return write(folder / "far.nii.gz", np.random.default_rng(6).random((20, 20, 20)).astype(np.float32), 900.0)


def empty_folder(folder: Path) -> Path:
    (folder / "series").mkdir()
    return folder / "series"


BAD = {
    no_file: "no such file",
    no_image: "not an image",
    with_nan: "NaN",
    nan_in_mha: "NaN",
    constant: "same value",
    colour: "one value per voxel",
    four_d: "4D",
    one_slice: "one slice",
    plane: "2D",
    elsewhere: "do not overlap",
    empty_folder: "no DICOM series",
}


def refused(capsys, out: Path, *arguments: object, code: int = 2) -> str:
    """Run, expect the exit code, one line on standard error and no trace of the output; return the line."""
    before = sorted(out.parent.rglob("*"))
    assert main([str(a) for a in ("register", *arguments, "-o", out, "-q")]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("regcore: ")
    assert sorted(out.parent.rglob("*")) == before
    return said.err


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_bad_image(make, side, good, tmp_path, capsys):
    bad = make(tmp_path)
    images = (bad, good) if side == "fixed" else (good, bad)
    sentence = refused(capsys, tmp_path / "deep" / "out", *images)
    # Of two images that do not fit together, the moving one is named.
    words = {"plane": "3D" if side == "fixed" else "2D"}.get(make.__name__, BAD[make])
    assert words in sentence
    assert (side if make not in (plane, elsewhere) else "moving") in sentence


def test_empty_mask(good, tmp_path, capsys):
    mask = write(tmp_path / "mask.nii.gz", np.zeros((20, 20, 20), np.uint8))
    assert "mask is empty" in refused(capsys, tmp_path / "out", good, good, "--fixed-mask", mask)


def test_mask_elsewhere(good, tmp_path, capsys):
    mask = write(tmp_path / "mask.nii.gz", np.ones((20, 20, 20), np.uint8), 900.0)
    assert "outside its image" in refused(capsys, tmp_path / "out", good, good, "--moving-mask", mask)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--init", "sideways", "transform file"),
        ("--init", "centre,sideways", "after the comma"),
        ("--init", "landmarks", "needs --fixed-landmarks"),
        ("--model", "nothing", "no model"),
        ("--device", "abacus", "device"),
        ("--refine", "-3", "0 or more"),
        ("--fixed-labels", "GOOD", "whole numbers"),
    ],
)
def test_bad_option(option, value, words, good, tmp_path, capsys):
    value = good if value == "GOOD" else value
    assert words in refused(capsys, tmp_path / "out", good, good, option, value)


def test_labels_of_one_side_only(good, tmp_path, capsys):
    labels = write(tmp_path / "labels.nii.gz", np.ones((20, 20, 20), np.uint8))
    assert "both images" in refused(capsys, tmp_path / "out", good, good, "--moving-labels", labels)


def test_unwritable_output(good, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert "cannot write" in refused(capsys, tmp_path / "file" / "out", good, good)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"


def test_missing_device_is_another_code(good, tmp_path, capsys):
    assert "not available" in refused(capsys, tmp_path / "out", good, good, "--device", "cuda:99", code=3)


def test_cancel_leaves_nothing(good, tmp_path, capsys, monkeypatch):
    def cancel(*_, **__):
        raise Cancelled

    monkeypatch.setattr("regcore.cli.register.register", cancel)
    assert "cancelled" in refused(capsys, tmp_path / "out", good, good, code=4)


def test_too_little_room_is_said_before_writing(good, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "0 MiB left" in refused(capsys, tmp_path / "out", good, good, "--init", "none", "--refine", "0")


def test_failure_while_writing_keeps_what_was_there(good, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("old", encoding="utf-8")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("regcore.outputs.write_report", full)
    arguments = ("--init", "none", "--refine", "0")
    assert "No space left" in refused(capsys, out, good, good, *arguments)
    assert (out / "report.json").read_text(encoding="utf-8") == "old"
