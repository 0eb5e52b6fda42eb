"""What the sections of the page share."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


@pytest.fixture
def parts() -> ModuleType:
    return importlib.import_module("page_parts")


def test_figures_that_are_not_there_are_none(parts, tmp_path) -> None:
    assert parts.read(tmp_path / "some.json") is None
    (tmp_path / "some.json").write_text("[1, 2]", encoding="utf-8")
    assert parts.read(tmp_path / "some.json") == [1, 2]


@pytest.mark.parametrize(
    ("mean", "said"),
    [
        (0.3, "better by 0.3000 (0.2000 to 0.4000)"),
        (-0.3, "worse by 0.3000 (0.2000 to 0.4000)"),
        (0.05, "no difference that can be told (-0.0500 to +0.1500)"),
        (0.1, "no difference that can be told (+0.0000 to +0.2000)"),
    ],
)
def test_a_verdict_names_the_side_or_that_there_is_none(parts, mean: float, said: str) -> None:
    assert parts.verdict(mean, mean - 0.1, mean + 0.1) == said


def test_a_verdict_takes_other_words_where_nothing_can_be_told(parts) -> None:
    assert parts.verdict(0.0, -1.0, 1.0, none="alike") == "alike (-1.0000 to +1.0000)"


@pytest.mark.parametrize(("threads", "said"), [(1, "1 thread,"), (2, "2 threads,")])
def test_how_something_was_measured(parts, threads: int, said: str) -> None:
    found = {"date": "2030-01-02", "processor": "P", "threads": threads, "versions": {"torch": "9", "numpy": "3"}}
    models = [{"file": "a.safetensors", "sha256": "0123456789abcdef"}, {"file": "b.safetensors", "sha256": "f" * 64}]
    assert parts.measured(found, models) == (
        f"2030-01-02, P, {said} torch 9, numpy 3; "
        "weights (SHA-256): a.safetensors 0123456789ab, b.safetensors ffffffffffff."
    )


def test_columns_of_words_stand_to_the_left(parts) -> None:
    rows = [["the paper", "here"], ["it works", "it does"]]
    assert parts.as_markdown(rows, figures=False) == "| the paper | here |\n| --- | --- |\n| it works | it does |"
    assert parts.as_markdown(rows).splitlines()[1] == "| --- | ---: |"
