"""Chains, presets and slices on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from regcore.cli.main import main
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import read_image, write_image
from regcore.models import create_model, list_models, save_model
from regcore.weights import stored_models

from ..pairs import blob_image, centred_grid


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    fixed = blob_image(centred_grid((36, 34, 32), (2.0, 2.0, 2.0)))
    write_image(fixed, folder / "fixed.nii.gz")
    shifted = Grid.of(fixed.grid.size, fixed.grid.spacing, np.add(fixed.grid.origin, (2.0, 0, 0)))
    write_image(Image(fixed.data, shifted), folder / "moving.nii.gz")
    return folder


def register(pair: Path, out: Path, *more: object) -> int:
    images = [str(pair / f"{side}.nii.gz") for side in ("fixed", "moving")]
    return main(["register", *images, "-o", str(out), "-q", *[str(part) for part in more]])


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def refused(capsys, code: int) -> str:
    said = capsys.readouterr().err
    assert code == 2
    assert len(said.splitlines()) == 1
    return said


def test_stages_run_in_turn_and_are_timed(pair, tmp_path):
    assert register(pair, tmp_path, "--stages", "pan, refinement", "--refine", 10) == 0
    found = report(tmp_path)
    assert [stage["name"] for stage in found["stages"]] == ["initial transform", "pan", "refinement", "outputs"]
    assert found["model"] == "pan"
    assert found["settings"]["stages"] == ["pan", "refine"]
    assert found["similarity"]["after"] > found["similarity"]["before"]


def test_a_preset_fills_in_what_is_not_chosen(pair, tmp_path):
    assert register(pair, tmp_path, "--preset", "cardiac-cine") == 0
    found = report(tmp_path)
    assert found["settings"]["init"] == ["none"]
    assert found["settings"]["slicewise"] is True
    assert found["settings"]["metric"] == "lncc"
    assert found["settings"]["stages"] == ["refine"]
    # Nothing moves across the slices, which lie along z.
    across = read_image(tmp_path / "jacobian.nii.gz", "jacobian").data
    assert bool((across > 0).all())


def test_a_preset_of_ones_own(pair, tmp_path):
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"title": "t", "description": "d", "stages": ["refine"], "init": ["rigid"]}))
    assert register(pair, tmp_path / "out", "--preset", own, "--refine", 0) == 0
    found = report(tmp_path / "out")
    assert found["settings"]["init"] == ["rigid"]
    assert [stage["name"] for stage in found["stages"]] == ["initial transform", "outputs"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--stages", "pan", "--model", "pan"), "either a model or stages"),
        (("--stages", "pan,"), "no model is called ''"),
        (("--stages", "affine,refine"), "pass --init affine"),
        (("--stages", "pan,attention-reg"), "must come before pan"),
        (("--preset", "nothing"), "expected one of abdomen-mri"),
        (("--preset", "any-pair", "--model", "pan"), "pass it or a model"),
        (("--model", "pan", "--slicewise", "true"), "slicewise: pan"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(pair, tmp_path, capsys, options, sentence):
    assert sentence in refused(capsys, register(pair, tmp_path / "out", *options))
    assert not (tmp_path / "out").exists()


def test_weights_for_planes_do_not_register_volumes(pair, tmp_path, capsys):
    for name in list_models("deformable"):
        able = create_model(name)
        if able.dimensions == 2:
            save_model(able, tmp_path / f"{name}.stage1.safetensors")
            options = ("--model", name, "--weights", tmp_path, "--slicewise", "false")
            assert "2D" in refused(capsys, register(pair, tmp_path / "out", *options))


def test_models_are_listed_with_what_a_program_needs(capsys):
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == sorted({*list_models(), *stored_models()})
    for row in rows:
        assert {"name", "kind", "dimensions", "parameters", "weights", "paper"} <= row.keys()
        assert row["parameters"] > 0
