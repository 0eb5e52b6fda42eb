"""MRI and ultrasound on the command line with a rigid network: files, figures, targets, and what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.cli.main import main
from regcore.data.phantoms import make_phantom, write_phantom
from regcore.landmarks import Landmarks, read_landmarks, write_landmarks
from regcore.models import create_model, save_model

GLAND = "--gland-labels=1,2,3,4"


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prostate")
    write_phantom(make_phantom("prostate", 0), folder)
    torch.manual_seed(0)
    for model in ("attention-reg-small", "attention-reg-label-small"):
        for stage in (1, 2):
            save_model(create_model(model), folder / f"{model}.stage{stage}.safetensors")
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def register(pair: Path, out: Path, *more: object, model: str = "attention-reg-small") -> int:
    images = (pair / "fixed.nii.gz", pair / "moving.nii.gz")
    return run("register", *images, "-o", out, "--model", model, "--weights", pair, GLAND, "-q", *more)


def refused(capsys, code: int) -> str:
    said = capsys.readouterr().err
    assert code == 2
    assert len(said.splitlines()) == 1
    return said


@pytest.fixture(scope="module")
def registered(pair, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write_landmarks(Landmarks(np.array([[2.0, 12.0, -35.0], [900.0, 0, 0]]), ("a", "b")), pair / "biopsy.csv")
    labels = [f"--{side}-labels={pair / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    targets = [f"--targets={pair / 'biopsy.csv'}", f"--moving-targets={pair / 'biopsy.csv'}"]
    assert register(pair, out, *labels, *targets, f"--true-transform={pair / 'truth.h5'}") == 0
    return out


def test_files_and_figures_of_a_rigid_result(registered):
    names = {path.name for path in registered.iterdir()}
    assert {"transform.tfm", "transform.h5", "inverse_transform.h5", "warped.nii.gz", "jacobian.nii.gz"} < names
    figures = json.loads((registered / "report.json").read_text(encoding="utf-8"))
    assert figures["sre_mm"]["reference"] == "true transform"
    assert figures["sre_mm"]["before"] > 1
    assert figures["spread_mm"] > 0
    assert figures["network"] == "attention-reg-small"
    assert sorted(figures["weights"]) == [f"attention-reg-small.stage{n}.safetensors" for n in (1, 2)]
    assert figures["settings"]["init"] == ["organ"]
    assert figures["folding_percent"] == 0
    assert figures["jacobian"]["min"] == pytest.approx(1, abs=1e-3)
    page = (registered / "report.html").read_text(encoding="utf-8")
    assert "Surface error" in page
    assert "Spread" in page


def test_transform_is_rigid_for_simpleitk_and_says_the_same_as_the_report(registered, pair):
    transform = sitk.ReadTransform(str(registered / "transform.tfm"))
    assert transform.GetName() in ("Euler3DTransform", "VersorRigid3DTransform", "AffineTransform")
    whole = sitk.ReadTransform(str(registered / "transform.h5"))
    truth = sitk.ReadTransform(str(pair / "truth.h5"))
    labels = sitk.ReadImage(str(pair / "fixed_labels.nii.gz"))
    gland = sitk.And(labels >= 1, labels <= 4)
    surface = sitk.GetArrayFromImage(sitk.LabelContour(gland))
    points = [labels.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]) for index in np.argwhere(surface)]
    ends = np.array([[t.TransformPoint(p) for p in points] for t in (transform, truth, whole)])
    figures = json.loads((registered / "report.json").read_text(encoding="utf-8"))
    assert np.linalg.norm(ends[0] - ends[1], axis=1).mean() == pytest.approx(figures["sre_mm"]["after"], abs=0.05)
    assert np.abs(ends[0] - ends[2]).max() < 1e-6


def test_targets_go_to_the_ultrasound_and_back(registered, pair):
    transform = sitk.ReadTransform(str(registered / "transform.h5"))
    targets = read_landmarks(pair / "biopsy.csv")
    there = read_landmarks(registered / "targets_on_moving.csv")
    assert there.labels == targets.labels
    assert np.abs(there.points - [transform.TransformPoint(list(p)) for p in targets.points]).max() < 1e-4
    back = read_landmarks(registered / "targets_on_fixed.csv")
    assert np.abs([transform.TransformPoint(list(p)) for p in back.points] - targets.points).max() < 1e-4
    figures = json.loads((registered / "report.json").read_text(encoding="utf-8"))
    assert "1 of 2 targets fall outside the moving image." in figures["warnings"]


def test_label_network_needs_only_the_fixed_outline(pair, tmp_path):
    fixed = f"--fixed-labels={pair / 'fixed_labels.nii.gz'}"
    assert register(pair, tmp_path / "out", fixed, model="attention-reg-label-small") == 0
    figures = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert "sre_mm" not in figures


def test_outlines_and_landmarks_are_the_reference_when_nothing_better_is_known(pair, tmp_path):
    known = [f"--{side}-labels={pair / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    known += [f"--{side}-landmarks={pair / f'{side}_landmarks.csv'}" for side in ("fixed", "moving")]
    assert register(pair, tmp_path / "out", *known, f"--init={pair / 'truth.h5'}", "--refine=0") == 0
    figures = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert figures["sre_mm"]["reference"] == "alignment of the glands"
    # The start is the truth; how far it is from the reference is the reference's own error.
    assert figures["sre_mm"]["initial"] < 2
    assert 0.3 < figures["sre_mm"]["reference_error_mm"] < 4


def test_outlines_alone_register_without_a_network(pair, tmp_path):
    labels = [f"--{side}-labels={pair / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    truth = f"--true-transform={pair / 'truth.h5'}"
    assert register(pair, tmp_path / "out", *labels, truth, "--init=labels", "--refine=0", model="none") == 0
    figures = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert figures["sre_mm"]["after"] < 2.5


def test_transform_file_as_start(pair, tmp_path):
    fixed = f"--fixed-labels={pair / 'fixed_labels.nii.gz'}"
    truth = pair / "truth.h5"
    assert register(pair, tmp_path / "out", fixed, f"--init={truth}", f"--true-transform={truth}") == 0
    figures = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert figures["sre_mm"]["initial"] < 1e-3


def test_bad_glands_are_one_sentence(pair, tmp_path, capsys):
    labels = sitk.ReadImage(str(pair / "fixed_labels.nii.gz"))
    empty, far = tmp_path / "empty.nii.gz", tmp_path / "far.nii.gz"
    sitk.WriteImage(labels * 0, str(empty))
    labels.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(labels, str(far))
    assert "label 1, 2, 3, 4, the gland, is empty" in refused(
        capsys, register(pair, tmp_path / "a", f"--fixed-labels={empty}")
    )
    assert "outside its image" in refused(capsys, register(pair, tmp_path / "b", f"--fixed-labels={far}"))
    needed = refused(capsys, register(pair, tmp_path / "c", model="attention-reg-label-small"))
    assert "pass labels with the gland" in needed
    assert not any((tmp_path / name).exists() for name in "abc")


def test_frames_and_flat_spacing_are_one_sentence(pair, tmp_path, capsys):
    volume = sitk.ReadImage(str(pair / "moving.nii.gz"))
    frame, flat, nifti = tmp_path / "frame.nii.gz", tmp_path / "flat.mha", tmp_path / "flat.nii"
    sitk.WriteImage(volume[:, :, 40], str(frame))
    sitk.WriteImage(volume, str(flat))
    text = flat.read_bytes()
    spacing = next(line for line in text.splitlines() if line.startswith(b"ElementSpacing"))
    flat.write_bytes(text.replace(spacing, b"ElementSpacing = 0.7 0.7 0"))
    sitk.WriteImage(volume, str(nifti))
    header = bytearray(nifti.read_bytes())
    header[88:92] = struct.pack("<f", 0.0)  # pixdim[3]
    nifti.write_bytes(header)
    fixed = pair / "fixed.nii.gz"
    for moving, words in ((frame, "2D"), (flat, "spacing of 0"), (nifti, "spacing of 0")):
        code = run("register", fixed, moving, "-o", tmp_path / "out", "--model", "attention-reg-small", "-q")
        assert words in refused(capsys, code)


def test_storage_and_orientation_do_not_change_the_answer(registered, pair, tmp_path):
    """The same ultrasound, its axes permuted and flipped, gives the same transform."""
    turned = sitk.Flip(sitk.PermuteAxes(sitk.ReadImage(str(pair / "moving.nii.gz")), (2, 0, 1)), (True, False, True))
    sitk.WriteImage(turned, str(tmp_path / "turned.nii.gz"))
    labels = f"--fixed-labels={pair / 'fixed_labels.nii.gz'}"
    images = (pair / "fixed.nii.gz", tmp_path / "turned.nii.gz")
    model = ("--model", "attention-reg-small", "--weights", pair, GLAND, "-q")
    assert run("register", *images, "-o", tmp_path / "out", *model, labels) == 0
    one, other = (
        np.array(sitk.ReadTransform(str(folder / "transform.h5")).TransformPoint((5.0, 9.0, -30.0)))
        for folder in (registered, tmp_path / "out")
    )
    assert np.abs(one - other).max() < 1e-3
