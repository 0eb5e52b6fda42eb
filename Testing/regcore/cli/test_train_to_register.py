"""From training to use, by the commands alone: train, import as the last line says, list, register."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

import pytest

from regcore.cli.main import main
from regcore.io import write_image
from regcore.training.command import main as train

from ..organ_cases import write_case
from ..pairs import blob_image, centred_grid

SHAPES = """
model: {name: pan, options: {channels: 1}}
data:
  kind: shapes
  shapes: {size: [16, 16, 16], spacing_mm: 4.0, shapes: [3, 5], pairs_held_out: 1}
loss: [{name: mse}]
run: {steps: 2, device: cpu, threads: 1, pictures: false}
"""
CASE = """
model: {name: attention-reg-label-small}
data: {kind: rigid, rigid: {folder: FOLDER, cases: [case00], held_out: [case01], sre_mm: [0.0, 20.0]}}
run: {steps: 2, device: cpu, threads: 1, pictures: false}
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch) -> Path:
    """The user's folder, not made yet; few starts to judge by."""
    monkeypatch.setenv("REGCORE_MODELS", str(tmp_path / "own"))
    monkeypatch.setattr("regcore.training.rigid_goal._STARTS", 2)
    return tmp_path / "own"


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def trained(capsys, config: Path, folder: Path, *words: object) -> list[str]:
    """Train, and return the command that the last line gives."""
    capsys.readouterr()
    assert train([str(word) for word in (config, "-o", folder, *words)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    model, advice = last.split("; to use it: regcore ")
    assert model == f"Model: {folder / 'model.safetensors'}"
    return shlex.split(advice)


def listed(capsys, name: str) -> dict[str, object]:
    capsys.readouterr()
    run("models", "--json")
    (row,) = [row for row in json.loads(capsys.readouterr().out) if row["name"] == name]
    return row


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_stages_are_trained_imported_together_and_used(own, awkward_grids, tmp_path, capsys):
    data, config = tmp_path / "data", tmp_path / "stage.yaml"
    data.mkdir()
    write_case(data, "case00", awkward_grids["flipped"], awkward_grids["permuted"])
    write_case(data, "case01", awkward_grids["rotated"], awkward_grids["plain"])
    config.write_text(CASE.replace("FOLDER", str(data)))
    *_, first, _, _ = trained(capsys, config, tmp_path / "one")
    second = ("--data.rigid.sre_mm", "[0,8]", "--model.fine_tune", tmp_path / "one", "--seed", 2)
    *_, later, _, _ = trained(capsys, config, tmp_path / "two", *second)
    run("models", "import", first, later, "--name", "mine")
    row = listed(capsys, "mine")
    assert (row["kind"], row["network"], row["source"]) == ("rigid", "attention-reg-label-small", "user")
    assert row["weights"] == ["mine.stage1.safetensors", "mine.stage2.safetensors"]
    images = (data / "case00_mri.nii.gz", data / "case00_trus.nii.gz")
    gland = ("--fixed-labels", data / "case00_mri_labels.nii.gz", "--gland-labels", 1, "--refine", 0)
    run("register", *images, "-o", tmp_path / "out", "--model", "mine", *gland, "-q")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["network"], len(report["network_stages"])) == ("mine", 4)
    assert report["weights"] == hashes(own)


def test_a_deformable_model_is_trained_imported_and_used(own, tmp_path, capsys):
    config = tmp_path / "shapes.yaml"
    config.write_text(SHAPES)
    folder = tmp_path / "a folder"
    *advice, name = trained(capsys, config, folder)
    assert name == "NAME"
    run(*advice, "my-pan")
    row = listed(capsys, "my-pan")
    assert (row["kind"], row["weights"], row["spacing_mm"]) == ("deformable", ["my-pan.safetensors"], 4.0)
    run("models", "show", "my-pan", "--json")
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert (file["training"]["steps"], file["size"]) == (2, [16, 16, 16])
    assert file["metrics"]["dsc"] > 0
    for side in ("fixed", "moving"):
        write_image(blob_image(centred_grid((32, 32, 32), (2.0, 2.0, 2.0))), tmp_path / f"{side}.nii.gz")
    images = (tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz")
    run("register", *images, "-o", tmp_path / "out", "--model", "my-pan", "--init", "none", "--refine", 0, "-q")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["model"] == "my-pan"
    assert list(report["weights"].values()) == [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()]


def test_quiet_training_says_nothing(tmp_path, capsys):
    config = tmp_path / "shapes.yaml"
    config.write_text(SHAPES)
    assert train([str(config), "-o", str(tmp_path / "run"), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
