"""The command line, run in this process: what a user types, and what is on disk afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from regcore.cli.main import main
from regcore.data.phantoms import make_phantom, write_phantom
from regcore.landmarks import read_landmarks

FILES = ["inverse_transform.h5", "jacobian.nii.gz", "report.html", "report.json", "transform.h5", "warped.nii.gz"]


@pytest.fixture(scope="module")
def brain(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("brain")
    write_phantom(make_phantom("brain", 3), folder)
    return folder


@pytest.fixture(scope="module")
def registered(brain, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("registered") / "not" / "there yet"
    known = [f"--{side}-{what}" for side in ("fixed", "moving") for what in ("labels", "landmarks")]
    files = [str(brain / f"{o[2:].replace('-', '_')}{'.csv' if 'landmarks' in o else '.nii.gz'}") for o in known]
    given = [part for pair in zip(known, files, strict=True) for part in pair]
    assert run("register", brain / "fixed.nii.gz", brain / "moving.nii.gz", "-o", folder, "-q", *given) == 0
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_brain_phantom_ends_below_a_voxel(registered):
    figures = report(registered)
    assert sorted(path.name for path in registered.iterdir()) == FILES
    assert figures["tre_mm"]["before"]["mean"] > 4
    assert figures["tre_mm"]["after"]["mean"] < 2  # one voxel
    assert figures["folding_percent"] == 0
    assert figures["round_trip_mm"]["mean"] < 0.1
    assert figures["dsc"]["mean_after"] > figures["dsc"]["mean_initial"] + 0.1
    assert {stage["name"] for stage in figures["stages"]} == {"initial transform", "refinement", "outputs"}


@pytest.mark.parametrize("seed", [0, 1])
def test_rigid_phantom_loses_four_fifths_of_its_error(tmp_path, seed):
    write_phantom(make_phantom("prostate", seed), tmp_path)
    points = [f"--{side}-landmarks={tmp_path / f'{side}_landmarks.csv'}" for side in ("fixed", "moving")]
    images = (tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz")
    out = tmp_path / "out"
    assert run("register", *images, "-o", out, "-q", "--init", "rigid", "--refine", "0", *points) == 0
    figures = report(out)
    assert figures["similarity"]["name"] == "nmi"
    assert figures["similarity"]["after"] > figures["similarity"]["before"]
    figures = figures["tre_mm"]
    assert figures["after"]["mean"] < 0.2 * figures["before"]["mean"]
    assert isinstance(sitk.ReadTransform(str(out / "transform.tfm")).Downcast(), sitk.Euler3DTransform)


def test_simpleitk_alone_reproduces_the_warped_file(brain, registered):
    fixed, moving = (sitk.ReadImage(str(brain / f"{side}.nii.gz")) for side in ("fixed", "moving"))
    transform = sitk.ReadTransform(str(registered / "transform.h5"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(sitk.Cast(moving, sitk.sitkFloat32), fixed, transform))
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(registered / "warped.nii.gz")))
    assert np.abs(theirs - ours).mean() <= 0.005 * (theirs.max() - theirs.min())


def test_report_names_files_but_not_folders(registered):
    text = (registered / "report.html").read_text(encoding="utf-8")
    assert "fixed.nii.gz" in text
    assert str(registered.parent) not in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_apply_carries_images_labels_and_landmarks(brain, registered, tmp_path):
    transform, reference = registered / "transform.h5", ("--reference", brain / "fixed.nii.gz")
    assert run("apply", transform, brain / "moving.nii.gz", tmp_path / "warped.nii.gz", *reference) == 0
    written = [sitk.GetArrayFromImage(sitk.ReadImage(str(f / "warped.nii.gz"))) for f in (tmp_path, registered)]
    np.testing.assert_array_equal(*written)
    assert run("apply", transform, brain / "moving_labels.nii.gz", tmp_path / "l.nii.gz", *reference, "--labels") == 0
    labels = [
        sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in (tmp_path / "l.nii.gz", brain / "moving_labels.nii.gz")
    ]
    assert set(np.unique(labels[0])) <= set(np.unique(labels[1]))
    points = brain / "fixed_landmarks.csv"
    assert run("apply", transform, points, tmp_path / "there.csv", *reference) == 0
    there, wanted = (read_landmarks(p).points for p in (tmp_path / "there.csv", brain / "moving_landmarks.csv"))
    assert np.linalg.norm(there - wanted, axis=1).mean() < 2
    assert run("apply", transform, tmp_path / "there.csv", tmp_path / "back.mrk.json", *reference, "--invert") == 0
    back, start = (read_landmarks(p).points for p in (tmp_path / "back.mrk.json", points))
    assert np.linalg.norm(back - start, axis=1).max() < 0.3


def test_landmarks_and_files_start_a_registration(brain, tmp_path):
    images = (brain / "fixed.nii.gz", brain / "moving.nii.gz")
    points = [f"--{side}-landmarks={brain / f'{side}_landmarks.csv'}" for side in ("fixed", "moving")]
    assert run("register", *images, "-o", tmp_path / "a", "-q", "--init", "landmarks", "--refine", "0", *points) == 0
    figures = report(tmp_path / "a")["tre_mm"]
    assert figures["after"]["mean"] < figures["before"]["mean"]
    start = tmp_path / "a" / "transform.tfm"
    assert run("register", *images, "-o", tmp_path / "b", "-q", "--init", start, "--refine", "0", *points) == 0
    assert report(tmp_path / "b")["tre_mm"] == figures


def test_json_progress_is_one_object_a_line(brain, tmp_path, capsys):
    images = (brain / "fixed.nii.gz", brain / "moving.nii.gz")
    assert run("register", *images, "-o", tmp_path / "o", "--json", "--init", "moments", "--refine", "0") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["result"] == str(tmp_path / "o")
    assert lines[0] == {"progress": 0.0, "stage": "initial transform", "message": ""}


def test_models_are_listed_and_shown(capsys):
    assert run("models", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["pan"]["parameters"] == 3_568_751
    assert set(rows["pan"]) >= {"name", "kind", "dimensions", "parameters", "weights", "paper"}
    assert run("models", "show", "pan") == 0
    assert "Pyramid" in capsys.readouterr().out
    assert run("models", "show", "nothing") == 2


def test_phantoms_of_one_seed_are_the_same(tmp_path, capsys):
    for name in ("a", "b"):
        assert run("phantom", "prostate", "-o", tmp_path / name, "--seed", "5") == 0
    assert (tmp_path / "a/fixed.nii.gz").read_bytes() == (tmp_path / "b/fixed.nii.gz").read_bytes()
    assert run("phantom", "dragon", "-o", tmp_path / "c") == 2
    assert not (tmp_path / "c").exists()
