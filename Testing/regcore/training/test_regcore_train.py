"""`regcore-train` as its users see it: files in a folder, going on after a stop, one sentence for a mistake."""

from __future__ import annotations

import csv
import random
import signal
import time

import pytest
import torch
import yaml

from regcore.models import load_model
from regcore.training.command import main
from regcore.training.deformable_goal import DeformableGoal

from .runs import TINY, TORCHRUN, command, equal, on_images, weights_of, write_config


def run(*words: object) -> int:
    return main([str(word) for word in words])


def refused(capsys, code: int) -> str:
    said = capsys.readouterr().err
    assert code == 2
    assert len(said.splitlines()) == 1
    return said


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    assert run(write_config(folder), "-o", folder / "run", "-q") == 0
    return folder / "run"


def test_a_run_leaves_model_log_and_configuration(finished):
    assert {path.name for path in finished.iterdir()} == {"checkpoints", "config.yaml", "log.csv", "model.safetensors"}
    with (finished / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(8))
    assert all(float(row["loss"]) > 0 for row in rows)
    assert [row["held_out/dsc"] != "" for row in rows] == [False, False, True, False, False, True, False, False]
    assert yaml.safe_load((finished / "config.yaml").read_text())["data"]["shapes"]["size"] == [16, 16, 16]
    model = load_model(finished / "model.safetensors")
    assert model.recipe.name == "pan"
    assert model.recipe.options == {"channels": 1}


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(finished, tmp_path):
    config = write_config(tmp_path)
    assert run(config, "-o", tmp_path / "again", "-q") == 0
    assert run(config, "-o", tmp_path / "other", "-q", "--seed", 4) == 0
    once, again, other = (
        load_model(f / "model.safetensors").state_dict() for f in (finished, tmp_path / "again", tmp_path / "other")
    )
    assert equal(once, again)
    assert not equal(once, other)


def test_a_run_in_two_parts_ends_as_one(finished, tmp_path):
    config = write_config(tmp_path)
    assert run(config, "-o", tmp_path / "run", "-q", "--max-steps", 5, "--run.validate_every", 3) == 0
    # The rate's schedule knows the last step, so a shorter run is another run: only the data order is the same.
    assert run(config, "-o", tmp_path / "run", "-q", "--resume") == 0
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 1 + 8


def test_killed_again_and_again_a_run_ends_with_the_same_weights(tmp_path):
    text = TINY.replace("steps: 8", "steps: 60").replace("checkpoint_every: 2", "checkpoint_every: 3")
    config = write_config(tmp_path, text)
    assert run(config, "-o", tmp_path / "whole", "-q") == 0
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    rng, reached = random.Random(7), -1
    for _ in range(5):
        process = command(config, "-o", tmp_path / "killed", "-q", "--resume")
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            step = torch.load(last, weights_only=True)["global_step"] if last.is_file() else -1
            if step > reached:
                reached = step
                time.sleep(rng.uniform(0.0, 0.3))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        process.communicate()
    assert 0 < reached < 60
    assert run(config, "-o", tmp_path / "killed", "-q", "--resume") == 0
    assert equal(weights_of(tmp_path / "whole" / "checkpoints" / "last.ckpt"), weights_of(last))
    models = [load_model(tmp_path / name / "model.safetensors").state_dict() for name in ("whole", "killed")]
    assert equal(*models)
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))


@pytest.mark.parametrize("kind", ["shapes", "images"])
def test_two_processes_make_the_step_of_one_with_the_double_batch(tmp_path, kind):
    """Started by the command itself, and by torchrun, which says how many there are."""
    text = (on_images(tmp_path) if kind == "images" else TINY).replace(
        "name: adam, rate: 0.002, schedule: cosine, warm_up: 2, ema: 0.8, clip: 1.0", "name: sgd, rate: 0.1"
    )
    config = write_config(tmp_path, text.replace("steps: 8", "steps: 1"))
    assert run(config, "-o", tmp_path / "one", "-q", "--run.batch", 2) == 0
    words, launcher = (("--run.processes", 2), ()) if kind == "shapes" else ((), TORCHRUN)
    process = command(config, "-o", tmp_path / "two", "-q", *words, launcher=launcher)
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    one, two = (weights_of(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("one", "two"))
    assert run(config, "-o", tmp_path / "still", "-q", "--run.batch", 2, "--optimiser.rate", 1e-12) == 0
    still = weights_of(tmp_path / "still" / "checkpoints" / "last.ckpt")
    steps = [{name: value - still[name] for name, value in found.items()} for found in (one, two)]
    assert max(float(step.abs().max()) for step in steps[0].values() if step.numel()) > 1e-3
    for name, step in steps[0].items():
        torch.testing.assert_close(steps[1][name], step, atol=1e-6, rtol=1e-3)


def test_accumulated_parts_make_the_step_of_a_whole_batch(tmp_path):
    text = TINY.replace(
        "name: adam, rate: 0.002, schedule: cosine, warm_up: 2, ema: 0.8, clip: 1.0", "name: sgd, rate: 0.1"
    )
    config = write_config(tmp_path, text.replace("steps: 8", "steps: 2"))
    assert run(config, "-o", tmp_path / "whole", "-q", "--run.batch", 2) == 0
    assert run(config, "-o", tmp_path / "parts", "-q", "--run.accumulate", 2) == 0
    whole, parts = (weights_of(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "parts"))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=1e-3)


def test_a_damaged_checkpoint_is_said(finished, tmp_path, capsys):
    config = write_config(tmp_path)
    assert run(config, "-o", tmp_path / "run", "-q", "--max-steps", 2) == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    assert "last.ckpt is damaged" in refused(capsys, run(config, "-o", tmp_path / "run", "-q", "--resume"))


def test_gradients_that_are_not_finite_stop_the_run_before_they_spoil_it(tmp_path, monkeypatch, capsys):
    whole, calls = DeformableGoal.loss, []

    def break_the_fourth(goal, model, numbers, device):
        loss, parts, seconds = whole(goal, model, numbers, device)
        calls.append(numbers)
        return loss * (float("nan") if len(calls) == 4 else 1.0), parts, seconds

    monkeypatch.setattr(DeformableGoal, "loss", break_the_fourth)
    config = write_config(tmp_path, TINY.replace("validate_every: 3", "validate_every: 8"))
    said = refused(capsys, run(config, "-o", tmp_path / "run", "-q"))
    assert "optimiser.rate: the gradients are no longer finite at step 3; lower the rate" in said
    kept = weights_of(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert all(value.isfinite().all() for value in kept.values())
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_folder_with_a_run_is_not_written_over(finished, tmp_path, capsys):
    config = write_config(tmp_path)
    assert "holds a run already" in refused(capsys, run(config, "-o", finished, "-q"))
    said = refused(capsys, run(config, "-o", finished, "-q", "--resume", "--seed", 5))
    assert "another seed" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--run.stepz", "3"), "run.stepz: no such key; did you mean steps?"),
        (("--data.shapes.deformation.bent", "3"), "did you mean bend?"),
        (("--resum",), "did you mean --resume?"),
        (("--run.steps", "0"), "run.steps: expected 1 or more, got 0"),
        (("--run.steps", "many"), "run.steps"),
        (("--optimiser.rate", "-1"), "optimiser.rate: expected a positive rate"),
        (("--optimiser.ema", "1"), "optimiser.ema: expected a share"),
        (("--model.name", "nothing"), "model.name: expected one of"),
        (("--model.options", "{chanels: 3}"), "has no option chanels"),
        (("--model.fine_tune", "nothing"), "nothing"),
        (("--data.shapes.size", "[16, 16]"), "registers 3D images, these are 2D"),
        (("--loss", "[{name: soft_dise}]"), "did you mean soft_dice?"),
        (("--loss", "[{name: error}]"), "needs known displacements"),
        (("--loss", "[]"), "expected at least one term"),
        (("--data.kind", "rigid"), "is for rigid networks"),
        (("--model.name", "attention-reg-small"), "learns from rigid"),
    ],
)
def test_mistakes_are_said_in_one_sentence_before_anything_is_written(tmp_path, capsys, words, sentence):
    config = write_config(tmp_path)
    assert sentence in refused(capsys, run(config, "-o", tmp_path / "run", "-q", *words))
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modle: {name: pan}", "modle: no such key; did you mean model?"),
        ("loss: [{name: mse, wieght: 1}]", "loss[0].wieght: no such key; did you mean weight?"),
        ("- 1", "expected keys and values"),
        ("a: [", "is not YAML"),
    ],
)
def test_files_that_are_no_configuration_are_refused(tmp_path, capsys, text, sentence):
    assert sentence in refused(capsys, run(write_config(tmp_path, text), "-o", tmp_path / "run"))


def test_a_missing_file_and_a_missing_folder_are_said(tmp_path, capsys):
    assert "cannot read" in refused(capsys, run(tmp_path / "none.yaml", "-o", tmp_path / "run"))
    assert "pass --output" in refused(capsys, run(write_config(tmp_path)))


def test_the_printed_configuration_can_be_given(tmp_path, capsys):
    assert run(write_config(tmp_path), "--print_config", "--run.steps", 5) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["run"]["steps"] == 5
    again = tmp_path / "again.yaml"
    again.write_text(printed)
    assert run(again, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "parameters" in said
    assert "for drawing samples" in said
    assert not (tmp_path / "run").exists()
