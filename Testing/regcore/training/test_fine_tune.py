"""Training that begins with weights there are: a model's, a file's, those of an earlier run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from regcore.models import create_model, load_model, save_model
from regcore.models._checkpoint import read_checkpoint
from regcore.training.command import main

from ..organ_cases import write_case
from ..spoilt_files import SPOILT
from .runs import TINY, equal, write_config

LABEL, IMAGE = "attention-reg-label-small", "attention-reg-small"
# Of a rate of next to nothing the weights stay as they were; the statistics of normalisations do not.
STILL = """
seed: 2
model: {name: attention-reg-label-small}
data: {kind: rigid, rigid: {folder: FOLDER, cases: [case00], sre_mm: [0.0, 8.0]}}
optimiser: {rate: 1.0e-12}
run: {steps: 1, log_every: 1, device: cpu, threads: 1, pictures: false}
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory, awkward_grids) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_case(folder, "case00", awkward_grids["flipped"], awkward_grids["permuted"])
    return folder


@pytest.fixture
def train(cases, tmp_path):
    """The command on one case; its exit code."""
    config = write_config(tmp_path, STILL.replace("FOLDER", str(cases)))

    def run(folder: str, *words: object) -> int:
        return main([str(word) for word in (config, "-o", tmp_path / folder, "-q", *words)])

    return run


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """The user's folder, with two stages of the label variant."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("REGCORE_MODELS", str(folder))
    for stage in (1, 2):
        torch.manual_seed(stage)
        save_model(create_model(LABEL), folder / f"{LABEL}.stage{stage}.safetensors")
    return folder


def refused(capsys, code: int) -> str:
    said = capsys.readouterr().err
    assert code == 2
    assert len(said.splitlines()) == 1
    return said


def learned(file: Path) -> dict[str, torch.Tensor]:
    return {name: value.detach().round(decimals=6) for name, value in load_model(file).named_parameters()}


def same(one: Path, other: Path) -> bool:
    return equal(learned(one), learned(other))


@pytest.mark.parametrize("stage", [1, 2])
def test_the_image_variant_begins_with_a_stage_of_the_label_variant(train, own, tmp_path, stage):
    words = ("--model.name", IMAGE, "--model.fine_tune", LABEL, "--model.fine_tune_stage", stage)
    assert train("run", *words) == 0
    made = tmp_path / "run" / "model.safetensors"
    files = [own / f"{LABEL}.stage{number}.safetensors" for number in (1, 2)]
    assert [same(made, file) for file in files] == [stage == 1, stage == 2]
    assert load_model(made).recipe.name == IMAGE


def test_the_second_stage_begins_with_the_first_by_folder_or_file(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("stage1", "--seed", 1, "--optimiser.rate", 0.01, "--data.rigid.sre_mm", "[0,20]") == 0
    first = tmp_path / "stage1" / "model.safetensors"
    assert train("stage2", "--model.fine_tune", "stage1") == 0
    assert train("again", "--model.fine_tune", first) == 0
    assert train("fresh") == 0
    second, again, fresh = (tmp_path / name / "model.safetensors" for name in ("stage2", "again", "fresh"))
    assert same(second, first)
    assert same(again, first)
    assert not same(fresh, first)
    said = read_checkpoint(second).provenance
    assert said.training["fine_tune"] == {first.name: hashlib.sha256(first.read_bytes()).hexdigest()}
    assert read_checkpoint(fresh).provenance.training["fine_tune"] is None
    assert (said.data["sre_mm"], said.data["cases"]) == ([0.0, 8.0], ["case00"])
    assert str(tmp_path) not in json.dumps([said.training, said.data])


def test_a_model_s_name_comes_before_a_folder_of_that_name(train, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / LABEL).mkdir()
    assert train("run", "--model.fine_tune", LABEL) == 0
    assert same(tmp_path / "run" / "model.safetensors", own / f"{LABEL}.stage1.safetensors")


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT)
def test_spoilt_weights_are_refused(train, own, tmp_path, capsys, spoil, sentence):
    file = own / f"{LABEL}.stage1.safetensors"
    spoil(file)
    assert sentence in refused(capsys, train("run", "--model.fine_tune", file))
    assert sentence in refused(capsys, train("run", "--model.fine_tune", LABEL))
    assert not (tmp_path / "run").exists()


def test_what_holds_no_fitting_weights_is_refused(train, own, tmp_path, capsys):
    config = write_config(tmp_path / "own", TINY)
    assert main([str(config), "-o", str(tmp_path / "pan"), "-q", "--max-steps", "1"]) == 0
    (tmp_path / "empty").mkdir()
    stage = own / f"{LABEL}.stage1.safetensors"
    for words, sentence in (
        ((tmp_path / "empty",), "there is no model.safetensors in"),
        ((tmp_path / "nothing.safetensors",), "expected a model file, a run's folder or one of air,"),
        (("nothing",), "expected a model file, a run's folder or one of air,"),
        (("caml",), "caml has no trained weights"),
        ((tmp_path / "pan",), f"do not fit {LABEL}"),
        ((stage, "--model.fine_tune_stage", 2), "model.fine_tune_stage: expected 1 to 1, got 2"),
        ((LABEL, "--model.fine_tune_stage", 0), "model.fine_tune_stage: expected 1 to 2, got 0"),
    ):
        assert sentence in refused(capsys, train("run", "--model.fine_tune", *words))
    assert not (tmp_path / "run").exists()
