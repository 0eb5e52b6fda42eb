"""Model files: what goes in comes back, and a file that is not as it was saved is refused in one sentence."""

import hashlib
import json
import os
import stat

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from regcore import preprocess
from regcore.models import create_model, list_models, load_model, save_model
from regcore.models._checkpoint import Provenance, read_checkpoint, read_description
from regcore.models._model_file import fingerprint
from regcore.models.pan import PAN

KNOWN = Provenance(
    spacing_mm=1.5,
    size=(48, 56, 40),
    training={"steps": 300, "loss": [{"name": "lncc", "weight": 1.0}]},
    data={"kind": "synthesis", "labels": (1, 2)},
    metrics={"dsc": 0.71, "tre_mm": None},
    licence="CC-BY-4.0",
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("pan", channels=1, mask_outside=True)


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "pan.safetensors"
    save_model(model, path, {"data": "phantoms"}, KNOWN)
    return path


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def sealed(metadata, tensors):
    """Metadata with the hash that fits them."""
    return metadata | {"sha256": fingerprint(metadata, tensors)}


def one_sentence(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_everything_said_comes_back(saved, model):
    checkpoint = read_checkpoint(saved)
    assert checkpoint.recipe == model.recipe
    assert checkpoint.notes == {"data": "phantoms"}
    assert checkpoint.dimensions == 3
    assert checkpoint.provenance.spacing_mm == 1.5
    assert checkpoint.provenance.size == (48, 56, 40)
    assert checkpoint.provenance.training == KNOWN.training
    assert checkpoint.provenance.data == {"kind": "synthesis", "labels": [1, 2]}
    assert checkpoint.provenance.metrics == KNOWN.metrics
    assert checkpoint.provenance.licence == "CC-BY-4.0"
    assert load_model(saved).mask_outside
    described = read_description(saved)
    assert (described.recipe, described.provenance) == (checkpoint.recipe, checkpoint.provenance)


def test_all_of_the_provenance_may_be_unknown(model, tmp_path):
    save_model(model, tmp_path / "x.safetensors")
    assert read_checkpoint(tmp_path / "x.safetensors").provenance == Provenance()


def test_dimensions_and_scaling_are_those_of_the_network(saved, tmp_path):
    words = read_checkpoint(saved).normalisation.split("-")
    assert words[0] == "percentiles"
    assert tuple(map(float, words[1:])) == preprocess._PERCENTILES
    save_model(create_model("attention-reg-small", normalise="joint"), tmp_path / "rigid.safetensors")
    rigid = read_description(tmp_path / "rigid.safetensors")
    assert (rigid.dimensions, rigid.normalisation) == (3, "joint")
    for name in list_models("deformable", 2):
        plane = create_model(name, dimensions=2) if name in list_models("deformable", 3) else create_model(name)
        save_model(plane, tmp_path / "plane.safetensors")
        assert read_description(tmp_path / "plane.safetensors").dimensions == 2


def test_the_hash_is_over_metadata_and_tensors(saved):
    metadata, tensors = metadata_of(saved), load_file(saved)
    stated = metadata.pop("sha256")
    names = sorted(tensors)
    content = json.dumps(
        [metadata, [[name, str(tensors[name].dtype), [*tensors[name].shape]] for name in names]], sort_keys=True
    ).encode() + b"".join(tensors[name].numpy().tobytes() for name in names)
    assert stated == hashlib.sha256(content).hexdigest()


def test_the_same_network_gives_the_same_bytes(saved, model, tmp_path):
    for number in range(3):
        save_model(model, tmp_path / f"{number}.safetensors", {"data": "phantoms"}, KNOWN)
        assert (tmp_path / f"{number}.safetensors").read_bytes() == saved.read_bytes()


def test_half_precision_takes_half_the_space_and_gives_float32(model, saved, tmp_path):
    path = tmp_path / "half.safetensors"
    save_model(model, path, provenance=KNOWN, half=True)
    assert path.stat().st_size < 0.55 * saved.stat().st_size
    again = load_model(path).state_dict()
    for name, value in model.state_dict().items():
        assert again[name].dtype == value.dtype
        assert torch.equal(again[name], value.half().float() if value.ndim > 1 else value)
    stored = load_file(path)
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.float32}
    # Saved again, it stays as it is.
    save_model(load_model(path), tmp_path / "again.safetensors", provenance=KNOWN, half=True)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_weight_too_large_for_half_precision_is_named(tmp_path):
    model = create_model("pan", channels=1)
    with torch.no_grad():
        model.stem.weight[0, 0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match=r"half: stem.weight holds 100000, too much for float16"):
        save_model(model, tmp_path / "x.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_figures_that_are_not_finite_become_null(model, tmp_path):
    path = tmp_path / "x.safetensors"
    save_model(model, path, provenance=Provenance(metrics={"tre_mm": float("nan"), "dsc": {"1": float("inf")}}))
    assert read_checkpoint(path).provenance.metrics == {"tre_mm": None, "dsc": {"1": None}}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Provenance(spacing_mm=0.0), "spacing_mm: expected a positive length"),
        (lambda: Provenance(spacing_mm=float("nan")), "spacing_mm: expected a positive length"),
        (lambda: Provenance(size=()), "size: expected positive numbers"),
        (lambda: Provenance(size=(4, 0)), "size: expected positive numbers"),
        (lambda: Provenance(size=(4, 4)), "size: expected 3 numbers of voxels for a 3D network"),
        (lambda: Provenance(data={"x": torch.ones(2)}), "data: expected numbers, texts"),
        (lambda: Provenance(metrics={"x": np.float32}), "metrics: expected numbers, texts"),
    ],
)
def test_a_provenance_that_makes_no_sense_is_refused(model, tmp_path, made, message):
    with pytest.raises(ValueError, match=message):
        save_model(model, tmp_path / "x.safetensors", provenance=made())
    assert not list(tmp_path.iterdir())


def test_nothing_else_is_left_behind(saved, model):
    assert [path.name for path in saved.parent.iterdir()] == ["pan.safetensors"]
    save_model(model, saved)
    assert [path.name for path in saved.parent.iterdir()] == ["pan.safetensors"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o666 & ~mask


def test_a_failed_write_leaves_the_old_file(saved, model, monkeypatch):
    before = saved.read_bytes()

    def fail(self, content):
        self.touch()
        raise OSError(28, "disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(ValueError, match=r"pan.safetensors: cannot be written to .*: disk full"):
        save_model(model, saved)
    assert saved.read_bytes() == before
    assert len(list(saved.parent.iterdir())) == 1


def test_weights_fill_a_new_model(saved, model):
    again = create_model("pan", saved, channels=1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_weights_of_another_width_are_refused(saved):
    with pytest.raises(ValueError, match=r"do not fit model 'pan': \d+ of its tensors differ, such as .*: expected \("):
        create_model("pan", saved, channels=2)


def test_weights_of_another_network_are_refused(saved):
    with pytest.raises(ValueError, match="belong to 'pan', not to 'attention-reg-small'"):
        create_model("attention-reg-small", saved)


def test_only_registered_models_are_saved(tmp_path):
    with pytest.raises(ValueError, match="must come from create_model"):
        save_model(PAN(1), tmp_path / "x.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 0.1, 0.5, 0.9, -1])
def test_a_truncated_file_is_one_clear_error(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    one_sentence(saved, "damaged or not in safetensors format")


def test_a_longer_file_is_one_clear_error(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    one_sentence(saved, "damaged")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.one_of(st.integers(0, 6000), st.integers(0, 10**6)), flipped=st.integers(1, 255))
def test_a_flipped_byte_is_found_wherever_it_lies(saved, tmp_path, where, flipped):
    content = bytearray(saved.read_bytes())
    content[where % len(content)] ^= flipped
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    before = read_checkpoint(saved)
    try:
        after = read_checkpoint(path)
    except ValueError:
        return
    # Between the header's words, one kind of space is as good as another.
    assert (after.recipe, after.provenance, after.notes) == (before.recipe, before.provenance, before.notes)
    assert all(torch.equal(after.tensors[name], value) for name, value in before.tensors.items())


def test_a_flipped_byte_of_a_weight_is_one_clear_error(saved):
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    saved.write_bytes(content)
    one_sentence(saved, "were damaged or edited after they were saved")


@pytest.mark.parametrize(
    "changes",
    [
        {"licence": '"CC0-1.0"'},
        {"options": json.dumps({"channels": 1})},
        {"spacing_mm": "3.0"},
        {"metrics": '{"dsc": 0.99}'},
        {"more": "text"},
        {"sha256": "0" * 64},
    ],
)
def test_edited_metadata_are_one_clear_error(saved, changes):
    save_file(load_file(saved), saved, metadata_of(saved) | changes)
    one_sentence(saved, "were damaged or edited after they were saved")


def test_saved_again_by_other_tools_it_is_the_same_file(saved, model):
    save_file(load_file(saved), saved, metadata_of(saved))
    again = load_model(saved).state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("edit", ["value", "name", "missing", "more", "dtype", "shape"])
def test_edited_weights_are_one_clear_error(saved, edit):
    tensors = load_file(saved)
    weight = tensors.pop("stem.weight")
    changed = {"value": weight + 1e-3, "dtype": weight.double(), "shape": weight.flatten()}
    if edit in changed:
        tensors["stem.weight"] = changed[edit]
    elif edit == "name":
        tensors["other"] = weight
    elif edit == "more":
        tensors |= {"stem.weight": weight, "more": torch.zeros(1)}
    save_file(tensors, saved, metadata_of(saved))
    one_sentence(saved, "were damaged or edited after they were saved")


def test_a_pickle_is_refused_unread(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(1)}, path)
    one_sentence(path, "damaged or not in safetensors format")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing"):
        load_model(tmp_path / "nothing.safetensors")


def test_a_file_that_may_not_be_read_is_one_clear_error(saved, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("regcore.models._model_file.safe_open", refuse)
    one_sentence(saved, r"pan.safetensors cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not written by save_model"),
        ({"format_version": "1"}, "format version 1, which is no longer read"),
        ({"format_version": "3"}, "format version 3, newer than 2, .*; update attention-registration"),
        ({"format_version": "²"}, "format version ², which is no longer read"),
        ({"options": "["}, "do not say which model"),
        ({"options": "3"}, "do not say which model"),
        ({"notes": "[]"}, "do not say which model"),
        ({"size": "3"}, "do not say which model"),
        ({"spacing_mm": "-1"}, "do not say which model"),
        ({"model": "unheard-of"}, "no model is called 'unheard-of'"),
        ({"options": json.dumps({"depth": 1})}, "no option depth"),
        ({"options": json.dumps({"channels": "many"})}, "pan cannot be made as they say"),
        ({"options": json.dumps({"channels": 2})}, "do not fit model 'pan'"),
        ({"dimensions": "2"}, "need dimensions 2, but pan has 3 here"),
        ({"normalisation": "ranks"}, "need normalisation ranks, but pan has percentiles"),
    ],
)
def test_foreign_metadata_are_one_clear_error(saved, changes, message):
    tensors = load_file(saved)
    save_file(tensors, saved, sealed(metadata_of(saved) | changes, tensors))
    one_sentence(saved, message)


@pytest.mark.parametrize("key", ["model", "options", "dimensions", "normalisation", "notes", "training"])
def test_missing_metadata_are_one_clear_error(saved, key):
    tensors, metadata = load_file(saved), metadata_of(saved)
    del metadata[key]
    save_file(tensors, saved, sealed(metadata, tensors))
    one_sentence(saved, "do not say which model")
    with pytest.raises(ValueError, match="do not say which model"):
        read_description(saved)
