"""Which trained networks there are, the user's own among them, and what runs where there are none."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from regcore.models import Provenance, create_model, model_info, save_model
from regcore.start import START_KINDS
from regcore.weights import (
    _folders,
    all_models,
    card,
    check_name,
    find_model,
    import_model,
    is_trained,
    load_trained,
    network_of,
    stand_in,
    stored,
    user_folder,
    user_models,
    weight_files,
)

from .shift_networks import add_shift

SMALL = "attention-reg-small"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The package's folder, empty."""
    (tmp_path / "package").mkdir()
    monkeypatch.setattr(_folders, "_PACKAGE", tmp_path / "package")
    return tmp_path / "package"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The user's folder, not made yet."""
    monkeypatch.setenv("REGCORE_MODELS", str(tmp_path / "own" / "models"))
    return tmp_path / "own" / "models"


def put(folder: Path, name: str, *stages: int) -> None:
    for stage in stages:
        save_model(create_model(name), folder / f"{name}.stage{stage}.safetensors")


def put_pan(folder: Path, name: str, spacing_mm: float | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_model(create_model("pan", channels=1), path, provenance=Provenance(spacing_mm=spacing_mm))
    return path


def test_stages_come_in_order_and_end_at_the_first_gap(folder):
    put(folder, SMALL, 2, 1, 4)
    files = weight_files(SMALL)
    assert [path.name for path in files] == [f"{SMALL}.stage{n}.safetensors" for n in (1, 2)]
    trained = load_trained(SMALL)
    assert trained.warning is None
    assert trained.files[files[0].name] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert not torch.equal(trained.networks[0].head[0].weight, trained.networks[1].head[0].weight)
    assert not trained.networks[0].training


def test_small_network_stands_in_and_says_so(folder):
    assert stand_in("attention-reg") is None
    assert not is_trained("attention-reg")
    assert "ran with new ones" in load_trained("attention-reg").warning
    put(folder, SMALL, 1)
    assert stand_in("attention-reg") == SMALL
    assert is_trained("attention-reg")
    trained = load_trained("attention-reg")
    assert trained.name == SMALL
    assert f"{SMALL}, the same network for smaller crops, ran instead" in trained.warning
    put(folder, "attention-reg", 1)
    assert stand_in("attention-reg") is None
    assert load_trained("attention-reg").warning is None


def test_a_folder_passed_comes_before_the_users_and_that_before_the_package(folder, own, tmp_path):
    own.mkdir(parents=True)
    passed = tmp_path / "passed"
    passed.mkdir()
    hashes = []
    for place in (folder, own, passed):
        put(place, SMALL, 1)
        hashes.append(load_trained(SMALL, passed if place == passed else None).files)
        assert hashes[-1] == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.glob("*.safetensors")
        }
    assert hashes[0] != hashes[1] != hashes[2]
    assert load_trained(SMALL).files == hashes[1]
    assert stored(SMALL).source == "user"
    expected = r"weights: expected pan.safetensors or pan.stage1.safetensors, found no such file"
    with pytest.raises(ValueError, match=expected):
        load_trained("pan", passed)
    with pytest.raises(ValueError, match=expected):
        load_trained("pan", tmp_path / "nowhere")


def test_damaged_weights_and_wrong_names_are_refused(folder):
    (folder / f"{SMALL}.stage1.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="damaged"):
        load_trained(SMALL)
    with pytest.raises(ValueError, match=r"no model is called 'nothing'; there are .*pan"):
        weight_files("nothing")


def test_cards_lie_beside_their_weights(folder, own):
    assert card(SMALL) is None
    (folder / f"{SMALL}.md").write_text("# Card\n", encoding="utf-8")
    assert card(SMALL) == "# Card\n"
    own.mkdir(parents=True)
    put(own, SMALL, 1)
    assert card(SMALL) is None  # that of other weights says nothing of these
    (own / f"{SMALL}.md").write_text("# Mine\n", encoding="utf-8")
    assert card(SMALL) == "# Mine\n"


def test_a_model_of_ones_own_is_what_its_network_is(own):
    before = all_models()
    put_pan(own, "mine", 2.5)
    assert find_model("mine") == replace(model_info("pan"), name="mine", default_spacing_mm=2.5)
    assert network_of("mine") == "pan"
    assert all_models() == sorted([*before, "mine"])
    assert "mine" in all_models("deformable", 3)
    assert "mine" not in all_models("rigid")
    assert "mine" not in all_models(dimensions=2)
    assert is_trained("mine")
    assert not is_trained("mine", 2)
    trained = load_trained("mine")
    assert (trained.name, trained.warning, list(trained.files)) == ("mine", None, ["mine.safetensors"])
    assert trained.networks[0].recipe.options == {"channels": 1}
    with pytest.raises(ValueError, match="'pan' registers 3D images, not 2D"):
        load_trained("mine", dimensions=2)


def test_a_model_for_planes_alone_comes_from_a_network_for_both(own, monkeypatch):
    add_shift(monkeypatch, "both", {2: (0.0, 0.0), 3: (0.0, 0.0, 0.0)})
    own.mkdir(parents=True)
    save_model(create_model("both", dimensions=2), own / "planes.safetensors")
    assert find_model("planes").dimensions == (2,)
    assert load_trained("planes").networks[0].dimensions == 2  # as a fine-tuned one asks for it
    with pytest.raises(ValueError, match="model 'planes' registers 2D images, not 3D"):
        load_trained("planes", dimensions=3)
    # Under the network's own name, the rest of the network stays.
    (own / "planes.safetensors").rename(own / "both.safetensors")
    assert find_model("both").dimensions == (2, 3)
    assert load_trained("both", dimensions=2).files
    assert "no trained weights for 3D images" in load_trained("both", dimensions=3).warning
    with pytest.raises(ValueError, match="for 3D images, found weights for 2D images"):
        load_trained("both", own, 3)


def test_the_voxel_size_is_that_of_the_weights_that_run(folder, own, tmp_path, monkeypatch):
    usual = model_info("pan").default_spacing_mm
    assert find_model("pan").default_spacing_mm == usual
    put_pan(folder, "pan", 1.25)
    assert find_model("pan").default_spacing_mm == 1.25
    put_pan(own, "pan", 2.25)
    assert find_model("pan").default_spacing_mm == 2.25
    put_pan(tmp_path / "passed", "pan")
    assert find_model("pan", tmp_path / "passed").default_spacing_mm == usual
    # Weights for planes say nothing of volumes.
    add_shift(monkeypatch, "both", {2: (0.0, 0.0), 3: (0.0, 0.0, 0.0)})
    planes = create_model("both", dimensions=2)
    save_model(planes, own / "both.safetensors", provenance=Provenance(spacing_mm=3.25))
    assert [find_model("both", None, axes).default_spacing_mm for axes in (2, 3)] == [3.25, 1.5]


def test_files_of_another_network_are_refused(folder, own):
    path = put_pan(own, SMALL)
    with pytest.raises(ValueError, match=f"hold the network pan, not {SMALL}"):
        find_model(SMALL)
    path.unlink()
    put(own, SMALL, 1)
    put_pan(own, "x").rename(own / f"{SMALL}.stage2.safetensors")
    with pytest.raises(ValueError, match=f"stage2.safetensors hold the network pan, but stage 1 holds {SMALL}"):
        load_trained(SMALL)


def test_a_network_that_this_version_does_not_know_is_refused(own, monkeypatch):
    with monkeypatch.context() as newer:
        add_shift(newer, "shift", {3: (0.0, 0.0, 0.0)})
        own.mkdir(parents=True)
        save_model(create_model("shift"), own / "mine.safetensors")
        assert find_model("mine").kind == "deformable"
    with pytest.raises(ValueError, match="hold the network 'shift', unknown here"):
        find_model("mine")
    assert "mine" not in all_models()


def test_one_file_and_stages_are_one_too_many(own):
    put_pan(own, "mine")
    put_pan(own, "mine.stage1")
    with pytest.raises(ValueError, match=r"both mine.safetensors and stages of it; remove one"):
        load_trained("mine")
    (own / "mine.safetensors").unlink()
    (own / "mine.stage1.safetensors").rename(own / "mine.stage2.safetensors")
    with pytest.raises(ValueError, match=r"no mine.stage1.safetensors, but a later stage"):
        load_trained("mine")


@pytest.mark.parametrize("name", ["../mine", "a/b", "..", "/etc/passwd", "mine.safetensors", "Mine", "", "."])
def test_names_lead_nowhere_else(own, tmp_path, name):
    put_pan(own, "mine")
    put_pan(own.parent, "mine")
    with pytest.raises(ValueError, match=r"looks like a path|no model is called"):
        load_trained(name)
    with pytest.raises(ValueError, match="name: expected lower case words"):
        import_model(own / "mine.safetensors", name or "-")
    assert sorted(path.name for path in tmp_path.rglob("*.safetensors")) == ["mine.safetensors"] * 2


def test_starts_and_stages_are_no_names_of_models():
    for name in (*START_KINDS, "none", "refine", "refinement", "outputs"):
        with pytest.raises(ValueError, match="means something else"):
            check_name(name)


def test_other_files_in_the_folder_do_no_harm(own):
    put_pan(own, "mine")
    (own / ".hidden.safetensors").write_bytes(b"")
    (own / "folder.safetensors").mkdir()
    (own / "link.safetensors").symlink_to(own / "nothing")
    (own / "notes.txt").write_text("")
    assert user_models() == ["mine"]


def test_a_folder_that_cannot_be_read_is_one_sentence(own, monkeypatch):
    own.parent.mkdir()
    own.write_text("a file")
    with pytest.raises(ValueError, match=r"the folder .*models of models cannot be read: Not a directory"):
        load_trained("pan")

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ValueError, match="cannot be read: Permission denied"):
        find_model("pan")


def test_the_usual_folder_need_not_be_open(folder, monkeypatch):
    monkeypatch.delenv("REGCORE_MODELS")
    usual, read = user_folder(), Path.iterdir

    def refuse(path):
        if path == usual:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    put_pan(folder, "pan")
    assert load_trained("pan").files
    assert user_models() == []


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "/home/me/.local/share/attention-registration/models"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/attention-registration/models"),
        ("linux", {"XDG_DATA_HOME": "data"}, "/home/me/.local/share/attention-registration/models"),
        ("darwin", {}, "/home/me/Library/Application Support/attention-registration/models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/attention-registration/models"),
        ("win32", {}, "/home/me/AppData/Local/attention-registration/models"),
        ("win32", {"REGCORE_MODELS": "/mine"}, "/mine"),
        ("linux", {"REGCORE_MODELS": ""}, "/home/me/.local/share/attention-registration/models"),
    ],
)
def test_the_users_folder_is_the_platforms(monkeypatch, platform, variables, expected):
    for name in ("REGCORE_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert user_folder() == Path(expected)


def test_without_a_home_there_is_the_package(folder, monkeypatch):
    def fail():
        raise RuntimeError("no home")

    monkeypatch.delenv("REGCORE_MODELS")
    monkeypatch.setattr(Path, "home", fail)
    path = put_pan(folder, "pan")
    assert user_folder() is None
    assert load_trained("pan").files
    with pytest.raises(ValueError, match="no model is called 'mine'"):
        load_trained("mine")
    with pytest.raises(ValueError, match="REGCORE_MODELS: there is no home folder"):
        import_model(path)


def test_models_of_the_package_may_have_names_of_their_own(own, monkeypatch, tmp_path):
    monkeypatch.setattr("regcore.weights._folders._PACKAGE", tmp_path / "package")
    put_pan(tmp_path / "package", "pan-any", 2.5)
    assert "pan-any" in all_models("deformable", 3)
    assert network_of("pan-any") == "pan"
    assert stand_in("pan") == "pan-any"
    trained = load_trained("pan")
    assert trained.name == "pan-any"
    assert "pan-any, the same network, trained on random shapes, ran instead" in trained.warning
    put_pan(own, "pan", 3.0)
    assert stand_in("pan") is None
