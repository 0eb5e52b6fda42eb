"""The page of results: its tables, its verdicts, and that it holds no path of the computer it was made on."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parent
RUN = {
    "commands": ["python Testing/benchmarks/some.py"],
    "date": "2030-01-02",
    "processor": "some processor",
    "cores": 4,
    "versions": {"torch": "9.9"},
}


@pytest.fixture(autouse=True)
def _beside_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def results() -> ModuleType:
    return importlib.import_module("results")


@pytest.fixture
def pages() -> ModuleType:
    return importlib.import_module("results_page")


def _written(pages: ModuleType, name: str, figures: dict) -> str:
    """Return the page of one part, without the sections of those that have not run."""
    text = pages.page([], {name: pages.Part(RUN, figures)})
    return next(section for section in text.split("\n## ") if "Not measured yet." not in section and "2030" in section)


def test_the_page_of_nothing_says_so(pages) -> None:
    model = {"name": "m", "kind": "rigid", "network": "n", "spacing_mm": 2.5, "parameters": 1234}
    text = pages.page([model | {"sha256": {"m.safetensors": "0123456789abcdef"}}], {})
    assert "| m | rigid | n | 2.5 | 1,234 | 0123456789ab |" in text
    assert text.count("Not measured yet.") == text.count("\n## ") == 6


def test_whole_registrations_are_one_table(pages) -> None:
    row = {"dice": 0.8, "hd95_mm": 3.0, "folding_percent": 0.0, "sdlogj": 0.2, "wall_s": 1, "cpu_s": 2, "peak_mib": 5}
    record = {"fixed": "a", "moving": "c", "threads": 2, "versions": {"peer": "1"}, "titles": {"x": "ours"}}
    text = _written(pages, "brain", {"results.json": record | {"median": {"x": row}}})
    assert "| ours | 0.8000 | 3.00 | 0.00000 | 0.200 | 1.0 | 2.0 | 5 | - | - |" in text
    assert "2030-01-02, some processor, 4 cores, torch 9.9:\n\n    python Testing/benchmarks/some.py" in text


def test_a_fall_of_dice_is_judged(pages) -> None:
    def record(first: float, second: float) -> dict:
        median = {"x": {"dice": first, "folding_percent": 0.1}, "y": {"dice": second, "folding_percent": 0.0}}
        return {"titles": {"x": "one", "y": "two"}, "median": median}

    figures = {"plain/results.json": record(0.8, 0.8), "inverted/results.json": record(0.78, 0.7)}
    text = _written(pages, "contrast", figures)
    assert "| one | 0.8000 | 0.7800 | +0.0200 | 0.10000 | yes |" in text
    assert "| two | 0.8000 | 0.7000 | +0.1000 | 0.00000 | no |" in text


def test_the_head_start_is_judged(pages) -> None:
    reached = [
        {"dice": 0.7, "from_zero": 10.0, "from_network": 4.0, "ratio": 0.4, "refinement_ratio": 0.1},
        {"dice": 0.75, "from_zero": 10.0, "from_network": 6.0, "ratio": 0.6, "refinement_ratio": 0.5},
        {"dice": 0.8, "from_zero": None, "from_network": 9.0, "ratio": None, "refinement_ratio": None},
        {"dice": 0.9, "from_zero": 9.0, "from_network": None, "ratio": None, "refinement_ratio": None},
    ]
    record = {"model": "m", "threads": 2, "budgets": [4, 86], "repeat": 3, "reached": reached}
    text = _written(pages, "head-start", {"head_start.json": record})
    assert "| 0.700 | 10.0 | 4.0 | 0.40 | yes | 0.10 | yes |" in text
    assert "| 0.750 | 10.0 | 6.0 | 0.60 | no | 0.50 | yes |" in text
    assert "| 0.800 | never | 9.0 | - | yes | - | yes |" in text
    assert "| 0.900 | 9.0 | never | - | no | - | no |" in text
    assert "![Dice against CPU seconds](head_start.png)" in text


@pytest.mark.parametrize(("after", "verdict"), [(0.5, "yes"), (0.28, "no")])
def test_held_out_brains_are_judged_by_the_mean_gain_of_each_contrast(pages, after, verdict) -> None:
    pairs = [{"before": 0.3, "after": value, "folding_percent": 0.01} for value in (0.6, after)]
    record = {"m": {"figures": {"T1-like": pairs}}}
    text = _written(pages, "held-out", {"held_out_brains.json": record})
    mean = (0.6 + after) / 2
    gains = f"{mean - 0.3:+.3f} | {after - 0.3:+.3f}"
    assert f"| m | T1-like | 2 | 0.300 | {mean:.3f} | {gains} | 0.0100 | {verdict} |" in text


def test_what_got_worse_is_named(pages) -> None:
    worse = importlib.import_module("never_worse").worse
    start = {"likeness": 0.8, "name": "ncc", "folding_percent": 0.0, "dice": 0.7, "tre_mm": 2.0}
    assert worse(start, start) == []
    assert worse(start, start | {"likeness": 0.7, "dice": 0.6, "tre_mm": 2.1}) == ["likeness", "Dice", "TRE"]
    assert worse(start, start | {"likeness": 0.7, "name": "nmi", "dice": 0.8, "tre_mm": 1.9}) == []
    figures = {"pair": {"start": start, "alone": start | {"tre_mm": 3.0}}}
    text = _written(
        pages, "any-anatomy", {"never_worse.json": {"model": "m", "as_2d_images": "no", "figures": figures}}
    )
    assert "| pair | alone | 0.8000 (ncc) | 0.7000 | 3.00 | 0.0000 | TRE |" in text


def test_the_prostate_has_both_tables(pages) -> None:
    outcome = {
        "start_mm": 9.0, "result_mm": 3.0, "seconds": 0.5, "spread_mm": None, "failed": False, "refined": None
    }  # fmt: skip
    of = {"labels": [outcome], "attention-reg-small x4, ensemble": [outcome, outcome | {"result_mm": 4.1}]}
    record = {"cases": ["case16"], "starts": 1, "threads": 2, "outcomes": {"case16": of}}
    record["spread_and_error"] = {"attention-reg-small x4, ensemble": 0.434}
    run = {"before_mm": 8.0, "start_mm": 5.0, "result_mm": 2.0, "wall_s": 9.0, "cpu_s": 4.0, "peak_mib": 500.0}
    cost = {"figures": {"m": {"alone": [run, run | {"result_mm": 4.0, "peak_mib": 600.0}]}}}
    text = _written(pages, "prostate", {"mri_trus.json": record, "mri_trus_cost.json": cost})
    assert "| labels | 9.00 | 3.00 | 0.00 | 0 | 0.50 |" in text
    assert "| labels | 3.00 | - |" in text
    assert "| attention-reg-small x4, ensemble | 3.55 | 0.43 |" in text
    assert "attention-reg-small at most 3.5 mm: no; attention-reg-label-small at most 3.3 mm: not measured." in text
    assert "| m | alone | 8.00 | 5.00 | 3.00 | 4.0 | 600 |" in text


def test_a_part_that_fails_leaves_no_record_and_one_that_runs_is_read_back(
    results, tmp_path: Path, monkeypatch
) -> None:
    def run(command: list, cwd: Path) -> object:
        (tmp_path / "part" / "figures.json").write_text("[1]")
        return subprocess.CompletedProcess(command, command[-1] == "--fail")

    monkeypatch.setattr(results.subprocess, "run", run)
    command = [results.OURS / "python", results.HERE / "head_start.py", "m", "-o", tmp_path / "part"]
    assert not results._measured("part", [[*command, "--fail"]], tmp_path / "part")
    assert results._read(tmp_path / "part") is None
    assert results._measured("part", [command], tmp_path / "part")
    part = results._read(tmp_path / "part")
    assert part.figures == {"figures.json": [1]}
    assert part.run["commands"] == ["python Testing/benchmarks/head_start.py m -o part"]


def test_a_part_without_its_model_is_off_the_page(results, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(results, "trained_models", lambda kind: [])
    monkeypatch.setenv("REGCORE_MODELS", "somewhere")
    old = tmp_path / "out" / "any-anatomy"
    old.mkdir(parents=True)
    (old / "run.json").write_text("{}")
    words = ["--only", "any-anatomy", "-o", str(tmp_path / "out"), "--page", str(tmp_path / "page" / "models.md")]
    assert results.main(words) == 0
    assert "any-anatomy: there is no trained model for it" in capsys.readouterr().out
    assert (tmp_path / "page" / "models.md").read_text(encoding="utf-8").count("Not measured yet.") == 6


def test_each_part_has_a_section_and_needs_its_model(results, pages) -> None:
    assert list(results.PARTS) == list(pages._SECTIONS)
    chosen = results._parse(["--brain-model", "b", "--any-model", "a"])
    assert [len(results.PARTS[name](chosen, ["b"])) for name in results.PARTS] == [1, 2, 1, 1, 0, 2]
    assert "a" in results.PARTS["any-anatomy"](chosen, ["a"])[0]


def test_held_out_options_keep_the_space_and_change_the_voxels() -> None:
    held_out_brains = importlib.import_module("held_out_brains")
    options = held_out_brains.read_options(FOLDER.parents[1] / "Resources" / "configs" / "pan_brain.yaml")
    assert (options.size, options.spacing_mm) == ((64, 80, 64), 2.5)
    coarse = held_out_brains.held_out(options, [Path("a"), Path("b")], 4.0)
    assert (coarse.size, coarse.spacing_mm) == ((40, 50, 40), 4.0)
    assert (coarse.maps, coarse.held_out, coarse.groups) == (("a", "b"), (), options.groups)
