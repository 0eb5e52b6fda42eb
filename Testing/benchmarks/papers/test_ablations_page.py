"""The ablations' part of the page: intervals, verdicts, and tables that are not complete yet."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
from scipy.stats import ttest_1samp


@pytest.fixture
def ablations() -> ModuleType:
    return importlib.import_module("ablations_page")


def _records(figure: str, start: str, values: dict[str, list[float]]) -> list[dict]:
    common = {"steps": 40, "seconds": 120, "cpu_seconds": 90, "date": "2030-01-02"}
    return [
        common | {"variant": variant, "seed": seed, "held_out": {figure: value, start: 0.5}}
        for variant, of in values.items()
        for seed, value in enumerate(of, start=1)
    ]


def _written(ablations: ModuleType, folder: Path, values: dict[str, list[float]]) -> str:
    """Return CAML's section."""
    records = _records("dsc", "dsc_start", values)
    (folder / "ablation-caml.json").write_text(json.dumps(records), encoding="utf-8")
    return ablations.section(folder).split("\n### ")[1]


def test_nothing_measured_is_said(ablations, tmp_path) -> None:
    assert ablations.section(tmp_path).count("Not measured yet.") == len(ablations.PARTS) == 3


def test_every_ablation_has_its_section(ablations) -> None:
    known = importlib.import_module("ablation_runs").ABLATIONS
    assert [part.experiment for part in ablations.PARTS] == [each.experiment for each in known]


def test_the_interval_is_that_of_the_paired_t_test(ablations) -> None:
    found = [0.01, 0.03, -0.005, 0.02]
    expected = ttest_1samp(found, 0).confidence_interval(0.95)
    assert importlib.import_module("page_parts").interval(found) == pytest.approx((expected.low, expected.high))


def test_one_seed_shows_nothing(ablations) -> None:
    assert ablations.verdict([0.3], 1) == "none shown"
    assert ablations.verdict([], 1) == "none shown"


@pytest.mark.parametrize(("sign", "expected"), [(1, "worse"), (-1, "better")])
def test_a_verdict_minds_which_way_is_better(ablations, sign, expected) -> None:
    assert ablations.verdict([-0.1, -0.11, -0.12], sign) == expected


def test_only_seeds_that_both_have_are_compared(ablations) -> None:
    assert ablations.differences({1: 0.5, 3: 0.9}, {1: 0.4, 2: 0.1}) == pytest.approx([0.1])


def test_a_part_that_helps_is_named(ablations, tmp_path) -> None:
    values = {"no-cascade": [0.6, 0.61, 0.62], "full": [0.7, 0.712, 0.719], "no-bottleneck": [0.69, 0.72, 0.719]}
    text = _written(ablations, tmp_path, values)
    assert "| full | 0.710 | 0.700 | 0.712 | 0.719 | - | - | - | - | 1.5 | 2.0 |" in text
    low, high = ttest_1samp([-0.1, -0.102, -0.099], 0).confidence_interval(0.95)
    row = f"| no-cascade | 0.610 | 0.600 | 0.610 | 0.620 | -0.100 | {low:+.3f} to {high:+.3f} | 3 | worse | 1.5 | 2.0 |"
    assert row in text
    assert "Worse than in full here: `no-cascade`. No difference shown: `no-bottleneck`." in text
    assert "Dice before registration: 0.500. 40 steps each; trained 2030-01-02." in text


def test_an_early_stop_leaves_a_table(ablations, tmp_path) -> None:
    text = _written(ablations, tmp_path, {"full": [0.7, 0.71], "no-cascade": [0.6]})
    assert "| no-cascade | 0.600 | 0.600 | - | -0.100 | - | 1 | none shown | 1.5 | 2.0 |" in text


def test_nothing_is_said_of_parts_of_a_network_that_learnt_nothing(ablations, tmp_path) -> None:
    text = _written(ablations, tmp_path, {"full": [0.7, 0.5], "no-cascade": [0.6, 0.4]})
    assert "The full network did not learn in every run" in text
    assert "Worse than in full" not in text
    assert "nothing is compared" in _written(ablations, tmp_path, {"no-cascade": [0.6]})


def test_the_page_has_the_parts_in_order(tmp_path) -> None:
    text = importlib.import_module("page").page(tmp_path)
    places = [text.index(name) for name in ("## ReSAAtt", "## AiR", "## Ablations", "## Trainings")]
    assert places == sorted(places)
    assert text.startswith("# The papers' experiments, repeated\n")
