"""What the measurements of trained networks share: which weights they take, and what they record."""

from __future__ import annotations

import hashlib
import importlib
import json
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def measurement() -> ModuleType:
    return importlib.import_module("measurement")


def test_weights_are_the_trainings_or_the_packages(measurement, tmp_path) -> None:
    [run] = [run for run in importlib.import_module("air_runs").RUNS if run.variant == "paper"]
    assert measurement.model_file(run, "air-digits", None).name == "air-digits.safetensors"
    with pytest.raises(ValueError, match="expected the weights of air, paper, found none; train first"):
        measurement.model_file(run, "air-digits", tmp_path)
    trained = tmp_path / "air" / "paper-seed1" / "model.safetensors"
    trained.parent.mkdir(parents=True)
    trained.touch()
    assert measurement.model_file(run, "air-digits", tmp_path) == trained


def test_every_shipped_name_is_there_and_of_a_run(measurement) -> None:
    air, resaatt = (importlib.import_module(f"{part}_runs") for part in ("air", "resaatt"))
    shipped = {("air", variant): name for variant, name in air.WEIGHTS.items()} | resaatt.WEIGHTS
    runs = {(run.experiment, run.variant): run for run in (*air.RUNS, *resaatt.RUNS)}
    for key, name in shipped.items():
        assert measurement.model_file(runs[key], name, None).is_file()


def test_a_network_is_told_by_its_file(measurement, tmp_path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(b"weights")
    told = measurement.described(torch.nn.Linear(3, 4), path)
    assert told == {"file": path.name, "parameters": 16, "sha256": hashlib.sha256(b"weights").hexdigest()}


def test_a_header_tells_the_command(measurement) -> None:
    told = measurement.header("air.py", 2, ("numpy",), trained=False)
    assert list(told) == ["command", "date", "processor", "threads", "versions"]
    assert told["command"] == "python Testing/benchmarks/papers/air.py"
    assert (told["threads"], told["versions"]) == (2, {"numpy": version("numpy")})
    trained = measurement.header("air.py", 2, (), trained=True)
    assert trained["command"] == "python Testing/benchmarks/papers/air.py --models bench/papers"


def test_a_record_is_written_into_a_new_folder(measurement, tmp_path) -> None:
    path = tmp_path / "new" / "some.json"
    measurement.write(path, {"threads": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"threads": 1}


def test_data_lie_where_the_environment_says(measurement, monkeypatch) -> None:
    monkeypatch.setenv("REGCORE_DATA", "/some")
    assert measurement.data("brain") == Path("/some/brain")
    monkeypatch.delenv("REGCORE_DATA")
    assert measurement.data("brain").parts[-3:] == ("shared", "data", "brain")
