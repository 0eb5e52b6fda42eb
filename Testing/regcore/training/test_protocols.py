"""The configurations that come with the project: all can be read and built, the short ones learn as they say."""

import csv
from pathlib import Path

import pytest
import yaml

from regcore.models import create_model, list_models
from regcore.training.command import main

CONFIGS = Path(__file__).resolve().parents[3] / "Resources" / "configs"
PAPERS = ("air", "attention_reg", "caml", "pan", "resaatt")


def test_every_paper_has_its_protocol_and_a_small_one():
    names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert {form for paper in PAPERS for form in (paper, f"{paper}_small")} <= names


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_can_be_read_and_its_network_made(path, capsys):
    assert main([str(path), "--print_config"]) == 0
    whole = yaml.safe_load(capsys.readouterr().out)
    assert whole["about"]
    assert whole["model"]["name"] in list_models()
    create_model(whole["model"]["name"], None, **whole["model"]["options"])


def held_out(folder):
    """Return the last figures of the held-out pairs in the log."""
    with (folder / "log.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["held_out/score"]]
    return {name.removeprefix("held_out/"): float(value) for name, value in rows[-1].items() if value}


def run(name, folder, steps, *words):
    looks = ["--run.validate_every", str(steps), "--run.device", "cpu", "--run.threads", "1", "--run.pictures", "false"]
    assert main([str(name), "-o", str(folder), "-q", "--max-steps", str(steps), *looks, *words]) == 0
    return held_out(folder)


def test_resaatt_learns_from_phantoms(tmp_path):
    found = run(CONFIGS / "resaatt_small.yaml", tmp_path, 62, "--optimiser.ema", "0.7", "--optimiser.rate", "0.003")
    assert found["dsc"] > found["dsc_start"] + 0.1
    assert found["error"] < 0.85 * found["error_start"]


def test_pan_learns_from_label_maps(tmp_path, data_folder):
    text = (CONFIGS / "pan_small.yaml").read_text().replace("../shared/data", str(data_folder))
    (tmp_path / "pan.yaml").write_text(text)
    haste = ("--optimiser.ema", "0.9", "--optimiser.rate", "0.002", "--optimiser.warm_up", "5")
    found = run(tmp_path / "pan.yaml", tmp_path / "run", 40, *haste)
    assert found["dsc"] > found["dsc_start"] + 0.04
    assert found["folding_percent"] < 0.1
