"""`regcore models`: what is listed and shown, and how a model file becomes a model of the user's own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from regcore import deformable_step
from regcore.cli.main import main
from regcore.data.phantoms import make_phantom, write_phantom
from regcore.io import write_image
from regcore.models import Provenance, create_model, list_models, save_model
from regcore.weights import load_trained, stored_models, weight_files

from ..pairs import blob_image, centred_grid
from ..shift_networks import Shift, add_shift
from ..spoilt_files import SPOILT, truncated

SMALL = "attention-reg-small"


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """The user's folder, not made yet."""
    monkeypatch.setenv("REGCORE_MODELS", str(tmp_path / "own" / "models"))
    return tmp_path / "own" / "models"


@pytest.fixture
def model_file(tmp_path) -> Path:
    """What a training run leaves."""
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    known = Provenance(4.0, (16, 16, 16), {"steps": 5}, {"kind": "shapes"}, {"dsc": 0.5}, "CC0-1.0")
    save_model(create_model("pan", channels=1), path, {"about": "a test"}, known)
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def listed(capsys) -> dict[str, dict]:
    capsys.readouterr()
    assert run("models", "--json") == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def refused(capsys, *arguments: object) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    return said.err


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_imported_model_is_listed_shown_and_loaded(model_file, own, capsys):
    assert run("models", "import", model_file, "--name", "my-pan") == 0
    said = capsys.readouterr().out
    count = sum(parameter.numel() for parameter in create_model("pan", channels=1).parameters())
    assert f"my-pan: deformable, 3D, {count:,} parameters, network pan, 1 stage, for voxels of 4.0 mm" in said
    assert names(own) == ["my-pan.safetensors"]
    assert (own / "my-pan.safetensors").read_bytes() == model_file.read_bytes()
    rows = listed(capsys)
    assert list(rows) == sorted({*list_models(), *stored_models()})
    row = rows["my-pan"]
    assert {key: row[key] for key in ("kind", "dimensions", "parameters", "weights", "source", "network")} == {
        "kind": "deformable",
        "dimensions": [3],
        "parameters": count,
        "weights": ["my-pan.safetensors"],
        "source": "user",
        "network": "pan",
    }
    assert row["paper"] == rows["pan"]["paper"]
    assert row["problem"] is None
    assert (rows[SMALL]["source"], rows["pan"]["source"]) == ("package", None)
    assert run("models") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("my-pan")]
    assert line.split()[:7] == ["my-pan", "deformable", "3D", f"{count:,}", "1", "stage", "user"]
    assert load_trained("my-pan").networks[0].recipe.name == "pan"


def test_show_tells_how_it_was_trained(model_file, own, capsys):
    run("models", "import", model_file, "--name", "my-pan")
    capsys.readouterr()
    assert run("models", "show", "my-pan", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    (file,) = shown["files"]
    assert file["sha256"] == hashlib.sha256(model_file.read_bytes()).hexdigest()
    assert (file["spacing_mm"], file["size"], file["training"]) == (4.0, [16, 16, 16], {"steps": 5})
    assert (file["data"], file["metrics"], file["licence"]) == ({"kind": "shapes"}, {"dsc": 0.5}, "CC0-1.0")
    assert (file["about"], file["options"]) == ("a test", {"channels": 1})
    assert (shown["card"], shown["spacing_mm"]) == (None, 4.0)
    assert run("models", "show", "my-pan") == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
    for expected in (
        ["size", "16 x 16 x 16"],
        ["licence", "CC0-1.0"],
        ["about", "a test"],
        ["metrics", '{"dsc": 0.5}'],
    ):
        assert expected in lines
    assert run("models", "show", SMALL) == 0
    assert "## Limits" in capsys.readouterr().out


def test_names_come_from_the_file_or_the_network(model_file, own, tmp_path, capsys):
    assert run("models", "import", model_file) == 0
    assert names(own) == ["pan.safetensors"]
    assert listed(capsys)["pan"]["source"] == "user"
    for called, expected in (("liver-3", "liver-3"), ("My Liver", "pan"), ("liver.stage1", "liver.stage1")):
        copy = tmp_path / f"{called}.safetensors"
        copy.write_bytes(model_file.read_bytes())
        assert run("models", "import", copy, "--replace") == 0
        assert (own / f"{expected}.safetensors").is_file()
    assert len(names(own)) == 3


def test_a_taken_name_is_kept_unless_replaced(model_file, own, capsys):
    assert run("models", "import", model_file, "--name", "mine") == 0
    before = (own / "mine.safetensors").read_bytes()
    save_model(create_model("pan", channels=1), model_file)
    assert "name: mine is in" in refused(capsys, "models", "import", model_file, "--name", "mine")
    assert (own / "mine.safetensors").read_bytes() == before
    assert run("models", "import", model_file, "--name", "mine", "--replace") == 0
    assert (own / "mine.safetensors").read_bytes() == model_file.read_bytes()
    # Importing what lies there already changes nothing.
    assert run("models", "import", own / "mine.safetensors", "--replace") == 0
    assert names(own) == ["mine.safetensors"]


def test_stages_are_imported_in_turn(own, tmp_path, capsys):
    for stage in (1, 2):
        save_model(create_model(SMALL), tmp_path / f"mine.stage{stage}.safetensors")
    first, second = tmp_path / "mine.stage1.safetensors", tmp_path / "mine.stage2.safetensors"
    assert "mine has no stage 1 yet" in refused(capsys, "models", "import", second)
    assert run("models", "import", first) == 0
    capsys.readouterr()
    assert run("models", "import", second, "--name", "mine", "--stage", 2, "--json") == 0
    imported = json.loads(capsys.readouterr().out)
    assert imported["weights"] == names(own) == [first.name, second.name]
    assert imported["files"] == [str(own / second.name)]
    assert len(load_trained("mine").networks) == 2
    assert "name: mine is in" in refused(capsys, "models", "import", second)
    save_model(create_model("feature-reg"), tmp_path / "other.safetensors")
    other = ("models", "import", tmp_path / "other.safetensors", "--name", "mine")
    assert "stage 1 of mine is attention-reg-small" in refused(capsys, *other, "--stage", 3)
    # A single file takes the place of all stages, and the other way round.
    assert "name: mine is in" in refused(capsys, *other)
    assert run(*other, "--replace") == 0
    assert names(own) == ["mine.safetensors"]
    assert "name: mine is in" in refused(capsys, "models", "import", first)
    assert run("models", "import", first, "--replace") == 0
    assert names(own) == ["mine.stage1.safetensors"]


def test_several_files_are_the_stages_of_one_model(own, tmp_path, capsys):
    runs = [tmp_path / stage / "model.safetensors" for stage in ("first", "second", "third")]
    for path in runs:
        path.parent.mkdir()
        save_model(create_model(SMALL), path)
    contents = [path.read_bytes() for path in runs]
    assert run("models", "import", *runs, "--name", "mine") == 0
    assert "3 stages" in capsys.readouterr().out
    assert names(own) == [f"mine.stage{stage}.safetensors" for stage in (1, 2, 3)]
    assert [(own / name).read_bytes() for name in names(own)] == contents
    assert "name: mine is in" in refused(capsys, "models", "import", *runs[:2], "--name", "mine")
    # Two of them in the other order: each is copied before another takes its place.
    kept = [own / name for name in names(own)]
    assert run("models", "import", kept[1], kept[0], "--replace", "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"] == [str(path) for path in kept[:2]]
    assert names(own) == [path.name for path in kept[:2]]
    assert [path.read_bytes() for path in kept[:2]] == [contents[1], contents[0]]


def test_files_that_are_no_stages_are_refused_and_none_is_imported(own, model_file, tmp_path, capsys):
    first, other, broken = (tmp_path / f"{name}.safetensors" for name in ("first", "other", "broken"))
    save_model(create_model(SMALL), first)
    save_model(create_model("feature-reg"), other)
    save_model(create_model(SMALL), broken)
    truncated(broken)
    for files, sentence in (
        ((first, other), "the first file attention-reg-small"),
        ((model_file, model_file), "pan is deformable and runs one network"),
        ((first, broken), "damaged"),
        ((first, tmp_path / "nothing.safetensors"), "there is no file"),
        ((first, first, "--stage", 2), "leave this option out"),
        ((first, first, "--name", "pan"), "pan is another network"),
    ):
        assert sentence in refused(capsys, "models", "import", *files)
    assert not own.exists()
    assert "name: expected one at most, got a b" in refused(capsys, "models", "show", "a", "b")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--name", "../x"), "name: expected lower case words joined by hyphens"),
        (("--name", "refine"), "name: refine means something else"),
        (("--name", SMALL), f"name: {SMALL} is another network than pan"),
        (("--stage", "2"), "stage: pan is deformable and runs one network"),
        (("--stage", "0"), "stage: expected 1 or more, got 0"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_sentence(model_file, own, capsys, options, sentence):
    assert sentence in refused(capsys, "models", "import", model_file, *options)
    assert not own.exists()


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT)
def test_a_spoilt_file_is_not_imported(model_file, own, capsys, spoil, sentence):
    spoil(model_file)
    assert sentence in refused(capsys, "models", "import", model_file)
    assert not own.exists()


@pytest.mark.parametrize(
    ("spoil", "sentence", "name"), [(*case, name) for case, name in zip(SPOILT, ("mine", "pan") * 2, strict=True)]
)
def test_a_spoilt_file_does_not_break_the_list(model_file, own, pair, tmp_path, capsys, spoil, sentence, name):
    run("models", "import", model_file, "--name", name)
    run("models", "import", model_file, "--name", "whole")
    spoil(own / f"{name}.safetensors")
    rows = listed(capsys)
    assert sentence in rows[name]["problem"]
    assert rows[name]["source"] == "user"
    assert {"kind", "dimensions", "parameters", "weights", "paper"} <= rows[name].keys()
    assert rows[name]["kind"] == ("deformable" if name == "pan" else None)
    assert [row["name"] for row in rows.values() if row["problem"]] == [name]
    assert run("models") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{name} ")]
    assert "cannot be used: weights" in line
    # Neither shown nor run, and never silently another one in its place.
    assert sentence in refused(capsys, "models", "show", name)
    assert sentence in refused(capsys, *register(pair, tmp_path / "out", "--model", name))
    assert not (tmp_path / "out").exists()


def test_odd_files_of_the_folder_are_listed_with_what_is_wrong(model_file, own, capsys):
    own.mkdir(parents=True)
    for called in ("My Model", "refine", "late.stage2"):
        (own / f"{called}.safetensors").write_bytes(model_file.read_bytes())
    rows = listed(capsys)
    assert "lower case words" in rows["My Model"]["problem"]
    assert "means something else" in rows["refine"]["problem"]
    assert "no late.stage1.safetensors" in rows["late"]["problem"]
    assert "no model is called 'nothing'; there are" in refused(capsys, "models", "show", "nothing")


def test_folders_and_options_that_make_no_sense_are_one_sentence(model_file, own, tmp_path, capsys):
    assert "there is no file" in refused(capsys, "models", "import", tmp_path / "nothing.safetensors")
    assert "there is no file" in refused(capsys, "models", "import", tmp_path)
    assert "which model file" in refused(capsys, "models", "import")
    assert "which network? There are" in refused(capsys, "models", "show")
    assert "options of `regcore models import FILE`" in refused(capsys, "models", "list", "--replace")
    own.parent.mkdir()
    own.write_text("a file in the folder's place")
    assert "cannot be read: Not a directory" in refused(capsys, "models")
    assert "cannot be read: Not a directory" in refused(capsys, "models", "import", model_file)


def test_a_folder_that_cannot_be_made_is_one_sentence(model_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    monkeypatch.setenv("REGCORE_MODELS", str(tmp_path / "new"))
    assert "cannot be made: Permission denied" in refused(capsys, "models", "import", model_file)


def test_a_copy_that_fails_leaves_what_was_there(model_file, own, monkeypatch, capsys):
    run("models", "import", model_file, "--name", "mine")
    before = (own / "mine.safetensors").read_bytes()

    def fail(_, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", fail)
    said = refused(capsys, "models", "import", model_file, "--name", "mine", "--replace")
    assert "No space left on device" in said
    assert names(own) == ["mine.safetensors"]
    assert (own / "mine.safetensors").read_bytes() == before


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    for side in ("fixed", "moving"):
        write_image(blob_image(centred_grid((32, 32, 32), (2.0, 2.0, 2.0))), folder / f"{side}.nii.gz")
    return folder


def register(pair: Path, out: Path, *more: object) -> list[object]:
    images = [pair / f"{side}.nii.gz" for side in ("fixed", "moving")]
    return ["register", *images, "-o", out, "-q", "--init", "none", *more]


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_an_imported_model_registers(model_file, own, pair, tmp_path):
    assert run("models", "import", model_file, "--name", "my-pan") == 0
    assert run(*register(pair, tmp_path / "out", "--model", "my-pan", "--refine", 5)) == 0
    found = report(tmp_path / "out")
    assert found["model"] == "my-pan"
    assert found["weights"] == {"my-pan.safetensors": hashlib.sha256(model_file.read_bytes()).hexdigest()}
    assert not [sentence for sentence in found["warnings"] if "no trained weights" in sentence]
    assert run(*register(pair, tmp_path / "chain", "--stages", "my-pan,my-pan")) == 0
    assert [stage["name"] for stage in report(tmp_path / "chain")["stages"]][1:3] == ["my-pan", "my-pan 2"]


def test_an_imported_rigid_model_registers_and_is_explained(own, tmp_path):
    write_phantom(make_phantom("prostate", 0), tmp_path / "case")
    for path in weight_files(SMALL):
        assert run("models", "import", path, "--name", "mine") == 0
    images = [tmp_path / "case" / f"{side}.nii.gz" for side in ("fixed", "moving")]
    gland = (f"--fixed-labels={tmp_path / 'case' / 'fixed_labels.nii.gz'}", "--gland-labels=1,2,3,4")
    chosen = ("--model", "mine", *gland, "-q")
    assert run("register", *images, "-o", tmp_path / "out", *chosen, "--ensemble", 1, "--refine", 0) == 0
    found = report(tmp_path / "out")
    assert (found["network"], sorted(found["weights"])) == ("mine", names(own))
    assert len(found["network_stages"]) == 4
    assert run("explain", *images, "-o", tmp_path / "seen", *chosen) == 0
    explained = json.loads((tmp_path / "seen" / "explain.json").read_text(encoding="utf-8"))
    assert (explained["model"], explained["stages"]) == ("mine", 2)


def test_weights_passed_come_first(model_file, own, pair, tmp_path):
    run("models", "import", model_file, "--name", "my-pan")
    passed = tmp_path / "passed"
    passed.mkdir()
    torch.manual_seed(1)
    save_model(create_model("pan", channels=1), passed / "my-pan.safetensors")
    assert run(*register(pair, tmp_path / "out", "--stages", "my-pan", "--weights", passed)) == 0
    expected = hashlib.sha256((passed / "my-pan.safetensors").read_bytes()).hexdigest()
    assert report(tmp_path / "out")["weights"] == {"my-pan.safetensors": expected}


def test_the_network_sees_the_voxels_it_was_trained_on(own, pair, tmp_path, monkeypatch):
    add_shift(monkeypatch, "shift", {3: (0.0, 0.0, 0.0)})
    shapes: list[tuple[int, ...]] = []
    predict = Shift.predict

    def look(self, fixed, moving):
        shapes.append(tuple(fixed.shape[2:]))
        return predict(self, fixed, moving)

    monkeypatch.setattr(Shift, "predict", look)
    for spacing in (4.0, 8.0):
        save_model(create_model("shift"), tmp_path / "s.safetensors", provenance=Provenance(spacing_mm=spacing))
        assert run("models", "import", tmp_path / "s.safetensors", "--replace") == 0
        assert run(*register(pair, tmp_path / "out", "--stages", "s")) == 0
    assert shapes == [(16, 16, 16), (8, 8, 8)]


def test_what_there_are_weights_for_decides_about_slices(own, tmp_path, monkeypatch):
    add_shift(monkeypatch, "both", {2: (0.0, 0.0), 3: (0.0, 0.0, 0.0)})
    cube, thick = centred_grid((20, 20, 20), (1.0, 1.0, 1.0)), centred_grid((20, 20, 5), (1.0, 1.0, 8.0))
    decided = deformable_step.runs_slicewise
    assert [decided("both", grid, None) for grid in (cube, thick)] == [False, True]
    own.mkdir(parents=True)
    for dimensions, expected in ((2, True), (3, False)):
        save_model(create_model("both", dimensions=dimensions), own / "both.safetensors")
        assert [decided("both", grid, None) for grid in (cube, thick)] == [expected, expected]
        assert decided("both", cube, not expected) is not expected
    save_model(create_model("both", dimensions=2), tmp_path / "both.safetensors")
    assert decided("both", cube, None, tmp_path)
