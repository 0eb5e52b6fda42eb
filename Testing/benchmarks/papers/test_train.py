"""Trainings of the papers' experiments: which are chosen, which are repeated, and what is kept of them."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from regcore.models import _registry, create_model, pan
from regcore.training.command import main as regcore_train

FOLDER = Path(__file__).resolve().parent

# Leaves behind what a training does, and a mark for every time it is run.
STUB = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
with (folder / "begun").open("a") as file:
    file.write("x")
if sys.argv[2] == "failing":
    sys.exit(2)
(folder / "config.yaml").write_text("run: {steps: 30}")
(folder / "log.csv").write_text("step,loss,held_out/dsc,held_out/score\\n9,1.0,0.4,0.4\\n19,0.5,0.6,0.6\\n29,0.4,,\\n")
(folder / "model.safetensors").write_text("weights")
"""


@pytest.fixture
def plan() -> ModuleType:
    return importlib.import_module("plan")


@pytest.fixture
def train() -> ModuleType:
    return importlib.import_module("train")


@pytest.fixture
def stubs(plan, train, monkeypatch):
    """Return a function that makes every training a stub, one of each of some variants."""

    class Stub(plan.Run):
        def started(self, root: Path, threads: int) -> list[str]:
            return [sys.executable, "-c", STUB, str(self.folder(root)), self.variant]

    def use(*variants: str) -> None:
        monkeypatch.setattr(train, "runs", lambda: tuple(Stub("some", variant, 1, "pan") for variant in variants))

    return use


def test_a_run_tells_its_command(plan) -> None:
    run = plan.Run("some", "full", 3, "pan", ("--run.steps", "7"))
    tail = ["Resources/configs/pan.yaml", "-o", "bench/some/full-seed3", "--seed", "3", "--run.steps", "7"]
    assert run.command(Path("bench")) == ["regcore-train", *tail]
    scripted = plan.Run("some", "full", 3, "pan", ("--run.steps", "7"), "train.py")
    assert scripted.command(Path("bench")) == ["python", "Testing/benchmarks/papers/train.py", *tail]
    started = scripted.started(Path("bench"), 2)
    assert started[:2] == [sys.executable, str(FOLDER / "train.py")]
    assert "--resume" in started
    assert started[-2:] == ["--run.threads", "2"]


def test_runs_are_chosen_by_name_and_by_number_of_seeds(plan) -> None:
    every = [plan.Run(e, v, s, "pan") for s in (5, 6, 7) for e in ("one", "two") for v in ("a", "b")]
    kept = plan.chosen(every, experiments=["two"], seeds=2)
    assert [(run.experiment, run.variant, run.seed) for run in kept] == [
        ("two", "a", 5),
        ("two", "b", 5),
        ("two", "a", 6),
        ("two", "b", 6),
    ]
    assert {run.variant for run in plan.chosen(every, variants=["b"])} == {"b"}
    with pytest.raises(ValueError, match="experiment: expected one of one, two, got three"):
        plan.chosen(every, experiments=["three"])


def test_no_two_runs_share_a_folder_and_every_config_is_there(plan) -> None:
    every = plan.runs()
    assert {run.experiment.split("-")[0] for run in every} == {"resaatt", "air", "ablation"}
    assert max(Counter(run.folder(Path()) for run in every).values()) == 1
    assert all((plan.CONFIGS / f"{run.config}.yaml").is_file() for run in every)


def test_a_training_is_run_once_and_kept(train, stubs, tmp_path) -> None:
    stubs("full")
    words = ["-o", str(tmp_path / "runs"), "--figures", str(tmp_path / "figures")]
    assert train.main(words) == 0
    assert train.main(words) == 0
    assert (tmp_path / "runs" / "some" / "full-seed1" / "begun").read_text() == "x"
    [note] = json.loads((tmp_path / "figures" / "some.json").read_text())
    assert (note["variant"], note["seed"], note["steps"]) == ("full", 1, 30)
    assert note["held_out"] == {"dsc": 0.6, "score": 0.6}
    assert note["command"] == "regcore-train Resources/configs/pan.yaml -o bench/papers/some/full-seed1 --seed 1"
    assert note["seconds"] >= 0
    assert note["cpu_seconds"] >= 0


def test_a_failed_training_keeps_none_of_the_others_back(train, stubs, tmp_path, capsys) -> None:
    stubs("failing", "full")
    assert train.main(["-o", str(tmp_path / "runs"), "--figures", str(tmp_path)]) == 2
    assert [note["variant"] for note in json.loads((tmp_path / "some.json").read_text())] == ["full"]
    assert "failed: some, failing, seed 1" in capsys.readouterr().err


def test_a_record_takes_the_place_of_the_one_before_it(train) -> None:
    def note(variant: str, seed: int, steps: int = 1) -> dict:
        return {"variant": variant, "seed": seed, "steps": steps}

    before = [note("full", 1), note("full", 2), note("less", 1)]
    assert train.merged(before, note("full", 2, 9)) == [note("full", 1), note("full", 2, 9), note("less", 1)]
    assert train.merged(before, note("less", 0)) == [note("full", 1), note("full", 2), note("less", 0), note("less", 1)]


def test_regcore_train_takes_the_words_of_the_ablations(capsys) -> None:
    ablations = importlib.import_module("ablation_runs")
    first = [run for run in ablations.RUNS if run.seed == ablations.SEEDS[0]]
    for run in [run for run in first if run.variant == ablations.FULL]:
        words = [str(importlib.import_module("plan").CONFIGS / f"{run.config}.yaml"), *run.words, "--print-config"]
        assert regcore_train(words) == 0, capsys.readouterr().err
    by_seed = [(run.experiment, run.variant) for run in ablations.RUNS]
    assert by_seed == len(ablations.SEEDS) * by_seed[: len(first)]


def test_each_variant_lacks_what_its_name_says(monkeypatch) -> None:
    monkeypatch.setattr(_registry, "_ENTRIES", dict(_registry._ENTRIES))
    monkeypatch.setattr(pan, "_HEADS", pan._HEADS)
    monkeypatch.delitem(sys.modules, "ablation_models", raising=False)
    importlib.import_module("ablation_models")
    ablations = importlib.import_module("ablation_runs")
    made = {}
    for run in ablations.RUNS[: len(ablations.RUNS) // len(ablations.SEEDS)]:
        words = dict(zip(run.words[::2], run.words[1::2], strict=True))
        options = json.loads(words.get("--model.options", "{}"))
        made[run.experiment, run.variant] = create_model(words.get("--model.name", "caml"), None, **options)
    count = {which: sum(p.numel() for p in model.parameters()) for which, model in made.items()}
    full = count["ablation-caml", "full"]
    assert count["ablation-caml", "no-bottleneck"] > full
    assert all(count["ablation-caml", f"no-{part}"] < full for part in ("cross-levels", "residual-skips", "cascade"))
    attention = count["ablation-attention-reg", "full"] - count["ablation-attention-reg", "no-attention"]
    assert attention == 2 * 2192
    heads = {
        variant: [len(bias) for bias in model.position_biases] for (of, variant), model in made.items() if "pan" in of
    }
    assert heads.pop("single-heads") == [1, 1, 1, 1, 1]
    assert all(of == [1, 1, 2, 4, 8] for of in heads.values())
    assert made["ablation-pan", "orthogonality-of-the-paper"].orth == "paper"
