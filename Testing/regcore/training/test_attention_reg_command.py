"""The command that fits both stages: what a user types, and what lies in the folder afterwards."""

import json

import pytest
import torch

from regcore.data.rigid_cases import read_cases
from regcore.models import load_model
from regcore.models._checkpoint import read_checkpoint
from regcore.training import attention_reg
from regcore.training.attention_reg import main
from regcore.training.rigid import RigidTraining, fit_rigid

from ..organ_cases import write_case

NAME = "attention-reg-label-small"
FILES = [f"{NAME}.stage{n}.{ending}" for n in (1, 2) for ending in ("checkpoint", "safetensors")]


@pytest.fixture(scope="module")
def data(tmp_path_factory, awkward_grids):
    folder = tmp_path_factory.mktemp("cases")
    write_case(folder, "case00", awkward_grids["flipped"], awkward_grids["permuted"])
    write_case(folder, "case01", awkward_grids["rotated"], awkward_grids["plain"])
    return folder


@pytest.fixture
def run(data, tmp_path):
    """The command with the folders filled in; its exit code."""

    def start(*more, **changed):
        given = {"data": data, "output": tmp_path / "out", "model": NAME, "cases": "0", "validation": "1"}
        given |= {"steps": "2,1", "device": "cpu"} | changed
        return main([*more, *(part for name, value in given.items() for part in (f"--{name}", str(value)))])

    return start


def test_both_stages_are_fitted_and_saved(run, data, tmp_path, capsys):
    assert run(seed=5) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    train, look = (read_cases(data, [name]) for name in ("case00", "case01"))
    first = fit_rigid(RigidTraining(NAME, (0, 20), 2, seed=5), train, look)
    second = fit_rigid(RigidTraining(NAME, (0, 8), 1, rate=5e-4, seed=6), train, look, start=first)
    for stage, expected in ((1, first), (2, second)):
        state = load_model(out / f"{NAME}.stage{stage}.safetensors").state_dict()
        assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{NAME}.stage1: step 2 of 2, loss ")
    assert " mm -> " in lines[1]
    assert [line.startswith("wrote ") for line in lines] == [False, False, True, True]


def test_the_files_say_how_they_were_made(run, tmp_path):
    assert run() == 0
    checkpoint = read_checkpoint(tmp_path / "out" / f"{NAME}.stage2.safetensors")
    notes = json.loads(checkpoint.notes["training"])
    assert checkpoint.recipe.name == NAME
    assert (notes["cases"], notes["validation_cases"]) == (["case00"], ["case01"])
    assert (notes["steps"], notes["device"]) == (1, "cpu")
    assert notes["options"]["sre_mm"] == [0, 8]
    assert notes["options"]["seed"] == 2
    assert 0 < notes["validation_sre_mm"]["start"] < 8
    assert notes["validation_sre_mm"]["after_one_pass"] > 0
    assert notes["seconds"] > 0
    assert str(tmp_path) not in json.dumps(dict(checkpoint.notes))


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(run, tmp_path, monkeypatch, capsys):
    said = []

    def interrupt(line):
        said.append(line)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(attention_reg, "_say", interrupt)
        assert run() == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == [FILES[0]]
    assert "cancelled; the same command goes on from the last checkpoint" in capsys.readouterr().err
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert "stage1: step 2 of 2, validation" in lines[0]  # done already: no loss
    assert "stage2: step 1 of 1, loss" in lines[1]
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_no_validation_is_possible(run, tmp_path, capsys):
    assert run(validation="none") == 0
    assert " mm -> " not in capsys.readouterr().out
    notes = read_checkpoint(tmp_path / "out" / f"{NAME}.stage1.safetensors").notes
    assert json.loads(notes["training"])["validation_sre_mm"] is None


def test_threads_are_set(run, monkeypatch):
    asked = []
    monkeypatch.setattr(attention_reg.torch, "set_num_threads", asked.append)
    assert run() == 0
    assert asked == []
    assert run(threads=3) == 0
    assert asked == [3]


def test_other_settings_do_not_go_on_from_an_old_run(run, capsys):
    assert run() == 0
    assert run(seed=7) == 2
    assert "belongs to a run with other settings (seed)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"data": "nowhere"}, "data: there is no folder nowhere"),
        ({"cases": "0,2-5"}, "no such file: "),
        ({"cases": "5-0"}, "cases: the range 5-0 runs backwards; write 0-5"),
        ({"cases": "a-b"}, "cases: expected numbers and ranges such as 0-15 or 0,2,5-7, got 'a-b'"),
        ({"cases": "0,,1"}, "cases: expected numbers"),
        ({"cases": ""}, "cases: expected numbers"),
        ({"cases": "0-1000000"}, "cases: expected numbers"),
        ({"cases": "none"}, "cases: expected at least one"),
        ({"validation": "0-1"}, "validation: case 0 is among the training cases too"),
        ({"steps": "3000"}, "steps: expected two numbers such as 3000,1500"),
        ({"steps": "0,1"}, "steps: expected two numbers"),
        ({"device": "abacus"}, "device: expected auto, cpu"),
        ({"threads": "0"}, "threads: expected 1 or more, got 0"),
    ],
)
def test_a_mistake_is_one_sentence(run, tmp_path, capsys, changed, sentence):
    assert run(**changed) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here_has_its_own_exit_code(run, capsys):
    assert run(device="cuda") == 3
    assert "device: cuda is not available here" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused(run, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert run(output=tmp_path / "taken") == 2
    assert "output: the folder" in capsys.readouterr().err


def test_networks_that_are_not_rigid_are_no_choice(run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(model="pan")
    assert stopped.value.code == 2
    assert "attention-reg-small" in capsys.readouterr().err


def test_ranges_are_sorted_and_counted_once():
    assert attention_reg._numbers("cases", "7, 0-3,2") == [0, 1, 2, 3, 7]
