import json
from pathlib import Path

import pytest

import regcore.presets as module
from regcore.presets import list_presets, load_preset, with_preset
from regcore.settings import REFINE, Settings
from regcore.weights import all_models, find_model

PROJECT = Path(__file__).resolve().parents[2]


def written(folder, **content):
    path = folder / "own.json"
    path.write_text(json.dumps({"title": "t", "description": "d", "stages": ["refine"], **content}))
    return str(path)


def test_every_kind_of_pair_has_one():
    assert list_presets() == ["abdomen-mri", "any-pair", "brain-mri", "cardiac-cine", "mri-trus-prostate"]
    assert {path.stem for path in (PROJECT / "Resources" / "presets").glob("*.json")} == set(list_presets())


@pytest.mark.parametrize("name", list_presets())
def test_presets_name_models_that_exist_and_can_follow_one_another(name):
    preset = load_preset(name)
    kinds = [find_model(stage).kind for stage in preset.stages if stage != REFINE]
    assert kinds == sorted(kinds, reverse=True)  # rigid before deformable
    assert set(preset.stages) <= {*all_models(), REFINE}
    assert len(preset.title) < 40
    assert preset.description.endswith(".")
    if preset.slicewise:
        assert all(2 in find_model(stage).dimensions for stage in preset.stages if stage != REFINE)


def test_untrained_models_are_left_out_and_named(monkeypatch, tmp_path):
    preset = load_preset(written(tmp_path, stages=["attention-reg", "pan", "refine"], init=["centre", "affine"]))
    monkeypatch.setattr(module, "is_trained", lambda name, dimensions: name == "attention-reg")
    settings, said = with_preset(Settings(), preset)
    assert settings.stages == ("attention-reg", "refine")
    assert settings.init == ("centre", "affine")
    assert said == ["The preset own leaves pan out: it has no trained weights yet."]


def test_the_rigid_preset_runs_the_trained_stand_in():
    settings, said = with_preset(Settings(), load_preset("mri-trus-prostate"))
    assert settings.stages == ("attention-reg", "refine")
    assert said == []


def test_what_the_user_chose_comes_first(tmp_path):
    preset = load_preset(written(tmp_path, init=["affine"], similarity="mind", slicewise=True))
    chosen = Settings(init=("moments",), similarity="lncc", slicewise=False, refine=7)
    settings, _ = with_preset(chosen, preset)
    assert (settings.init, settings.similarity, settings.slicewise, settings.refine) == (("moments",), "lncc", False, 7)
    filled, _ = with_preset(Settings(), preset)
    assert (filled.init, filled.similarity, filled.slicewise, filled.refine) == (("affine",), "mind", True, None)


def test_no_refinement_leaves_that_stage_out(tmp_path):
    settings, _ = with_preset(Settings(refine=0), load_preset(written(tmp_path)))
    assert settings.chain == ()


def test_a_model_and_a_preset_contradict_each_other():
    for chosen in (Settings(model="pan"), Settings(stages=("pan",))):
        with pytest.raises(ValueError, match="preset: it names the stages itself"):
            with_preset(chosen, load_preset("any-pair"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"stages": []}, "list of names as stages"),
        ({"stages": "pan"}, "list of names as stages"),
        ({"init": ["somewhere"]}, "as init, got somewhere"),
        ({"similarity": "best"}, "as similarity, got 'best'"),
        ({"slicewise": "yes"}, "true or false as slicewise"),
        ({"title": 3}, "text as title"),
        ({"weights": "/etc/passwd"}, "must have title, description and stages"),
    ],
)
def test_files_that_are_no_preset_are_refused(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_preset(written(tmp_path, **content))


def test_unreadable_presets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected one of abdomen-mri"):
        load_preset("../pyproject")
    with pytest.raises(ValueError, match=r"cannot read none\.json"):
        load_preset(str(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json is not JSON"):
        load_preset(str(tmp_path / "bad.json"))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="must have title"):
        load_preset(str(tmp_path / "list.json"))


def test_the_brain_preset_runs_a_trained_network():
    settings, said = with_preset(Settings(), load_preset("brain-mri"))
    assert settings.stages == ("pan-brain", "refine")
    assert said == []
