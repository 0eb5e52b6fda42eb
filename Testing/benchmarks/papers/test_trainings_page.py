"""The trainings' part of the page."""

from __future__ import annotations

import importlib
import json


def test_what_is_trained_and_what_is_not(monkeypatch, tmp_path) -> None:
    trainings, plan = importlib.import_module("trainings_page"), importlib.import_module("plan")
    planned = [plan.Run(experiment, "full", seed, "pan") for experiment in ("one", "two") for seed in (1, 2, 3)]
    monkeypatch.setattr(trainings, "runs", lambda: tuple(planned))
    of = {"cpu_seconds": 1800, "seconds": 3600}
    records = [of | {"steps": 1000, "date": "2030-01-09"}, of | {"steps": 50, "date": "2030-01-10"}]
    (tmp_path / "one.json").write_text(json.dumps(records), encoding="utf-8")
    text = trainings.section(tmp_path)
    assert "| one | 2 | 3 | 50 to 1,000 | 1.00 | 2.00 | 2030-01-10 |" in text
    assert "| two | 0 | 3 | - | - | - | - |" in text
