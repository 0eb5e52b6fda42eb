import json

import pytest
import torch
from safetensors.torch import save_file

from regcore.models import create_model, load_model, save_model
from regcore.models._checkpoint import read_checkpoint
from regcore.models.pan import PAN


@pytest.fixture(scope="module")
def model():
    return create_model("pan", channels=1, mask_outside=True)


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "pan.safetensors"
    save_model(model, path, {"data": "phantoms"})
    return path


def test_options_and_notes_come_back(saved, model):
    checkpoint = read_checkpoint(saved)
    assert checkpoint.recipe == model.recipe
    assert checkpoint.notes == {"data": "phantoms"}
    assert load_model(saved).mask_outside


def test_nothing_else_is_left_behind(saved, model):
    assert [path.name for path in saved.parent.iterdir()] == ["pan.safetensors"]
    save_model(model, saved)
    assert [path.name for path in saved.parent.iterdir()] == ["pan.safetensors"]
    assert saved.stat().st_mode & 0o400


def test_a_failed_write_leaves_the_old_file(saved, model, monkeypatch):
    before = saved.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("regcore.models._checkpoint.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(model, saved)
    assert saved.read_bytes() == before
    assert len(list(saved.parent.iterdir())) == 1


def test_weights_fill_a_new_model(saved, model):
    again = create_model("pan", saved, channels=1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_weights_of_another_width_are_refused(saved):
    with pytest.raises(ValueError, match="do not fit model 'pan'"):
        create_model("pan", saved, channels=2)


def test_only_registered_models_are_saved(tmp_path):
    with pytest.raises(ValueError, match="must come from create_model"):
        save_model(PAN(1), tmp_path / "x.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_one_clear_error(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged or not in safetensors format"):
        load_model(saved)


def test_a_pickle_is_refused_unread(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="damaged or not in safetensors format"):
        load_model(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing"):
        load_model(tmp_path / "nothing.safetensors")


GOOD = {
    "format": "attention-registration",
    "format_version": "1",
    "model": "pan",
    "options": json.dumps({"channels": 1}),
    "notes": "{}",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not written by save_model"),
        ({"format_version": "2"}, "format version 2"),
        ({"options": "["}, "do not say which model"),
        ({"options": "3"}, "do not say which model"),
        ({"notes": "[]"}, "do not say which model"),
        ({"model": "unheard-of"}, "no model is called 'unheard-of'"),
        ({"options": json.dumps({"depth": 1})}, "no option depth"),
        ({}, "do not fit model 'pan'"),
    ],
)
def test_foreign_metadata_is_one_clear_error(tmp_path, changes, message):
    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.ones(1)}, path, GOOD | changes)
    with pytest.raises(ValueError, match=message):
        load_model(path)
