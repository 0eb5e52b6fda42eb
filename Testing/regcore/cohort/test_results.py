"""summary.json of a cohort."""

from __future__ import annotations

import json
from pathlib import Path

from regcore.cohort.figures import FIGURES
from regcore.cohort.results import Run, described_settings, summary_of, write_json
from regcore.settings import Settings


def row(pair: str, error: float) -> dict[str, str | float | None]:
    return {"pair": pair, "label": "", **dict.fromkeys(FIGURES), "TRE [mm]": error}


def test_a_small_p_is_not_rounded_to_nothing(tmp_path):
    mine = Run("mine", [row(str(n), 0.1 * n) for n in range(40)])
    other = Run("other", [row(str(n), 0.1 * n + 1 + n) for n in range(40)])
    summary = summary_of(mine, {}, {}, {}, other)
    found = summary["comparison"]["metrics"]
    assert list(found) == ["TRE [mm]"]
    assert 0 < found["TRE [mm]"]["p"] < 1e-6
    write_json(summary, tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_pairs_are_counted_and_warnings_gathered_by_sentence():
    summary = summary_of(
        Run("mine", [row("a", 1.0), row("b", 3.0)]),
        {"c": "why"},
        {"a": ["Look.", "Look twice."], "b": ["Look."]},
        {"seed": 1},
    )
    assert (summary["pairs"], summary["done"], summary["failures"]) == (3, 2, {"c": "why"})
    assert summary["warnings"] == {"Look.": ["a", "b"], "Look twice.": ["a"]}
    assert summary["metrics"]["TRE [mm]"]["median"] == 2
    assert "comparison" not in summary


def test_settings_name_no_folders():
    settings = Settings(model="pan", weights=Path("/home/jane/weights"))
    told = described_settings(settings, "/home/jane/start.h5")
    assert (told["weights"], told["init"], told["stages"]) == ("weights", "start.h5", ["pan", "refine"])
