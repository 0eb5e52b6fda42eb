"""`regcore explain`: what it writes, on which grids, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.cli.main import main
from regcore.data.phantoms import make_phantom, write_phantom
from regcore.models import create_model, save_model

SMALL = "attention-reg-small"
GLAND = "--gland-labels=1,2,3,4"
VOXEL = "55,57,14"
MAPS = ["gradcam_fixed.nii.gz", "gradcam_moving.nii.gz", "gradcam_moving_native.nii.gz"]
ATTENTION = ["attention_over_fixed.nii.gz", "attention_over_moving.nii.gz", "attention_over_moving_native.nii.gz"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prostate")
    write_phantom(make_phantom("prostate", 0), folder)
    torch.manual_seed(0)
    for stage in (1, 2):
        network = create_model(SMALL)
        network.head[4].weight.data *= 0.05  # untrained, but it does not throw the images apart
        save_model(network, folder / f"{SMALL}.stage{stage}.safetensors")
    return folder


def explained(pair: Path, out: Path, *more: object, model: str = SMALL) -> int:
    images = [str(pair / "fixed.nii.gz"), str(pair / "moving.nii.gz")]
    return main(["explain", *images, "-o", str(out), "--model", model, "--weights", str(pair), *map(str, more)])


def labels(pair: Path) -> str:
    return f"--fixed-labels={pair / 'fixed_labels.nii.gz'}"


def written(out: Path) -> dict:
    return json.loads((out / "explain.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def result(pair, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("deep") / "not" / "there yet"
    assert explained(pair, out, labels(pair), GLAND, f"--voxel={VOXEL}", "-q") == 0
    return out


def test_files_lie_on_the_grids_of_the_images(pair, result):
    assert sorted(path.name for path in result.iterdir()) == sorted([*MAPS, *ATTENTION, "explain.html", "explain.json"])
    images = {side: sitk.ReadImage(str(pair / f"{side}.nii.gz")) for side in ("fixed", "moving")}
    for name in (*MAPS, *ATTENTION):
        found = sitk.ReadImage(str(result / name))
        like = images["moving" if "native" in name else "fixed"]
        assert found.GetSize() == like.GetSize()
        np.testing.assert_allclose(found.GetOrigin(), like.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(found.GetDirection(), like.GetDirection(), atol=1e-5)
        values = sitk.GetArrayFromImage(found)
        assert np.isfinite(values).all()
        assert 0 <= values.min() <= values.max() < 1 + 1e-5
        # The crop ends before the images do.
        assert values[(0, -1), (0, -1), (0, -1)].max() == 0


def test_json_says_what_was_done(pair, result):
    said = written(result)
    assert said["model"] == said["network"] == SMALL
    assert list(said["weights"]) == [f"{SMALL}.stage{stage}.safetensors" for stage in (1, 2)]
    assert (said["stage"], said["stages"]) == (2, 2)
    assert said["start"] == "organ, then stage 1"
    assert (said["mode"], said["target"], said["voxel"]) == ("activations", "all", [55, 57, 14])
    assert "our choice" in said["target_note"]
    assert list(said["numbers"]) == ["tx", "ty", "tz", "ax", "ay", "az"]
    assert 0 < said["in_gland"]["even"] < 0.3
    assert str(pair) not in (result / "explain.json").read_text(encoding="utf-8")
    page = (result / "explain.html").read_text(encoding="utf-8")
    assert str(pair) not in page
    assert "our choice" in page
    assert "Attention at voxel 55, 57, 14" in page


def test_small_numbers_are_said_to_explain_little(pair, tmp_path):
    network = create_model(SMALL)
    for parameter in network.head[4].parameters():
        parameter.data *= 1e-4
    save_model(network, tmp_path / f"{SMALL}.stage1.safetensors")
    options = (labels(pair), GLAND, f"--weights={tmp_path}", "-q")
    assert explained(pair, tmp_path / "all", *options) == 0
    (sentence,) = written(tmp_path / "all")["warnings"]
    assert "less than 1 mm" in sentence


def test_native_map_is_the_fixed_one_through_the_transform(pair, result):
    transform = np.array(written(result)["transform"])
    way = sitk.AffineTransform(3)
    way.SetMatrix(transform[:3, :3].ravel().tolist())
    way.SetTranslation(transform[:3, 3].tolist())
    native, on_fixed = (sitk.ReadImage(str(result / name)) for name in (MAPS[2], MAPS[1]))
    theirs = sitk.GetArrayFromImage(sitk.Resample(native, on_fixed, way))
    ours = sitk.GetArrayFromImage(on_fixed)
    assert ours.max() > 0.5
    assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] > 0.95


def test_a_given_transform_is_the_one_looked_through(pair, tmp_path, capsys):
    options = (labels(pair), GLAND, f"--init={pair / 'truth.h5'}", "--stage=1", "--mode=weights", "--target=az")
    assert explained(pair, tmp_path, *options) == 0
    said = written(tmp_path)
    assert (said["start"], said["stage"], said["mode"], said["target"]) == ("truth.h5", 1, "weights", "az")
    truth = sitk.ReadTransform(str(pair / "truth.h5"))
    for point in ([0.0, 0.0, 0.0], [10.0, -20.0, 30.0]):
        there = np.array(said["transform"]) @ [*point, 1.0]
        np.testing.assert_allclose(there[:3], truth.TransformPoint(point), atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*MAPS, "explain.html", "explain.json"])
    shown = capsys.readouterr().out
    assert "az" in shown
    assert "explain.html" in shown


def refused(capsys, pair: Path, out: Path, *arguments: object, code: int = 2, model: str = SMALL) -> str:
    before = sorted(out.parent.rglob("*"))
    assert explained(pair, out, *arguments, model=model) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("regcore: ")
    assert sorted(out.parent.rglob("*")) == before
    return said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--voxel=500,1,1",), "inside the fixed image of 112x112x28"),
        (("--voxel=1,1,1",), "outside the gland's crop"),
        (("--voxel=1,1",), "voxel: expected i,j,k"),
        (("--voxel=here",), "voxel: expected whole numbers"),
        (("--gland-labels=40",), "label 40, the gland, is empty"),
        (("--gland-labels=gland",), "gland-labels: expected whole numbers"),
        (("--stage=3",), "stage: expected 1 to 2"),
        (("--stage=0",), "stage: expected 1 to 2"),
        (("--init=sideways.tfm",), "init: no such file"),
    ],
)
def test_bad_option(options, words, pair, tmp_path, capsys):
    given = [labels(pair), *([] if "gland" in options[0] else [GLAND]), *options]
    assert words in refused(capsys, pair, tmp_path / "out", *given)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("pan", "weights: expected pan"),
        ("none", "only networks can be explained"),
        ("nothing", "nothing"),
        ("feature-reg", "no such file"),
    ],
)
def test_bad_model(model, words, pair, tmp_path, capsys):
    assert words in refused(capsys, pair, tmp_path / "out", labels(pair), GLAND, model=model)


def test_no_labels(pair, tmp_path, capsys):
    assert "fixed-labels: the network looks at" in refused(capsys, pair, tmp_path / "out")


def test_empty_labels(pair, tmp_path, capsys):
    image = sitk.ReadImage(str(pair / "fixed_labels.nii.gz"))
    sitk.WriteImage(image * 0, str(tmp_path / "empty.nii.gz"))
    said = refused(capsys, pair, tmp_path / "out", f"--fixed-labels={tmp_path / 'empty.nii.gz'}")
    assert "label 1, the gland, is empty" in said


def test_a_transform_that_shows_nothing(pair, tmp_path, capsys):
    far = sitk.TranslationTransform(3, [900.0, 0.0, 0.0])
    sitk.WriteTransform(far, str(tmp_path / "far.tfm"))
    said = refused(capsys, pair, tmp_path / "out", labels(pair), GLAND, f"--init={tmp_path / 'far.tfm'}")
    assert "moving: nothing of it lies" in said


def test_failure_while_writing_keeps_what_was_there(pair, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "explain.json").write_text("old", encoding="utf-8")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("regcore.cli.explain.write_explanation", full)
    assert "No space left" in refused(capsys, pair, out, labels(pair), GLAND, "--stage=1")
    assert (out / "explain.json").read_text(encoding="utf-8") == "old"
