"""Which trained networks there are, and what runs where there are none."""

from __future__ import annotations

import hashlib

import pytest
import torch

import regcore.weights as module
from regcore.models import create_model, save_model
from regcore.weights import card, load_trained, stand_in, weight_files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    return tmp_path


def put(folder, name: str, *stages: int) -> None:
    for stage in stages:
        save_model(create_model(name), folder / f"{name}.stage{stage}.safetensors")


def test_stages_come_in_order_and_end_at_the_first_gap(folder):
    put(folder, "attention-reg-small", 2, 1, 4)
    files = weight_files("attention-reg-small")
    assert [path.name for path in files] == [f"attention-reg-small.stage{n}.safetensors" for n in (1, 2)]
    trained = load_trained("attention-reg-small")
    assert trained.warning is None
    assert trained.files[files[0].name] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert not torch.equal(trained.networks[0].head[0].weight, trained.networks[1].head[0].weight)
    assert not trained.networks[0].training


def test_small_network_stands_in_and_says_so(folder):
    assert stand_in("attention-reg") is None
    assert "ran with new ones" in load_trained("attention-reg").warning
    put(folder, "attention-reg-small", 1)
    assert stand_in("attention-reg") == "attention-reg-small"
    trained = load_trained("attention-reg")
    assert trained.name == "attention-reg-small"
    assert "attention-reg-small, the same network for smaller crops, ran instead" in trained.warning
    put(folder, "attention-reg", 1)
    assert stand_in("attention-reg") is None
    assert load_trained("attention-reg").warning is None


def test_a_folder_of_ones_own_comes_first(folder, tmp_path_factory):
    own = tmp_path_factory.mktemp("own")
    put(folder, "attention-reg-small", 1)
    put(own, "attention-reg-small", 1)
    assert load_trained("attention-reg-small", own).files != load_trained("attention-reg-small").files
    with pytest.raises(ValueError, match=r"expected pan.stage1.safetensors for 3D images, found no such file"):
        load_trained("pan", own)


def test_damaged_weights_and_wrong_names_are_refused(folder):
    (folder / "attention-reg-small.stage1.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="damaged"):
        load_trained("attention-reg-small")
    with pytest.raises(ValueError, match="no model is called"):
        weight_files("nothing")


def test_cards_are_read(folder):
    assert card("attention-reg-small") is None
    (folder / "attention-reg-small.md").write_text("# Card\n", encoding="utf-8")
    assert card("attention-reg-small") == "# Card\n"
