"""The MRI-ultrasound benchmark: its starts, its scoring, and that its peers are set up to work."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from regcore.grid import Grid
from regcore.image import Image
from regcore.metrics import sre, surface_points
from regcore.transform import RigidTransform

FOLDER = Path(__file__).resolve().parent
CENTRE = np.array([4.0, -7.0, 30.0])
TRUTH = RigidTransform.from_euler((3, -4, 6), (5.0, 2.0, -3.0), CENTRE)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("mri_trus")


@pytest.fixture
def methods(bench: ModuleType) -> ModuleType:
    return importlib.import_module("mri_trus_methods")


def _content(points: np.ndarray) -> np.ndarray:
    centres = CENTRE + np.random.default_rng(3).uniform(-16, 16, (25, 3))
    far = ((points[..., None, :] - centres) ** 2).sum(-1)
    return np.exp(-far / 40).sum(-1).astype(np.float32)


@pytest.fixture
def case(methods: ModuleType):
    grid = Grid.of((40, 36, 30), (1.2, 1.2, 1.5), CENTRE - (23.4, 21.0, 21.75), np.eye(3))
    moving_grid = Grid.of((46, 44, 40), (1.1, 1.1, 1.2), TRUTH(CENTRE) - (24.75, 23.65, 23.4), np.eye(3))
    points, there = grid.points().numpy(), TRUTH.inverse()(moving_grid.points().numpy())
    glands = [
        Image(torch.as_tensor(np.linalg.norm((at - CENTRE) / (13, 11, 9), axis=-1) < 1).to(torch.uint8), on, "uint8")
        for at, on in ((points, grid), (there, moving_grid))
    ]
    fixed, moving = Image(torch.as_tensor(_content(points)), grid), Image(torch.as_tensor(_content(there)), moving_grid)
    return methods.Case("case05", fixed, moving, glands[0], TRUTH, surface_points(glands[0]), glands[1])


def test_starts_have_the_wanted_error_about_the_gland_and_do_not_depend_on_other_cases(bench, case) -> None:
    starts = bench.make_starts(case, 60, 0)
    errors = [sre(case.surface, start, TRUTH) for start in starts]
    assert 0 <= min(errors) < 3
    assert 17 < max(errors) <= 20.05
    assert np.mean(errors) == pytest.approx(10, abs=2.5)
    # Perturbed before the reference: seen from the fixed volume the gland turns about its own centre.
    perturbed = starts[0].compose(TRUTH.inverse())
    np.testing.assert_allclose(perturbed.centre, CENTRE, atol=0.8)
    assert np.linalg.norm(perturbed(CENTRE) - CENTRE) < 20
    again = bench.make_starts(case, 60, 0)
    assert all(np.array_equal(a.homogeneous, b.homogeneous) for a, b in zip(starts, again, strict=True))
    assert not np.array_equal(bench.make_starts(case, 1, 1)[0].homogeneous, starts[0].homogeneous)


def test_peers_work_where_they_can(bench, methods, case) -> None:
    chosen = methods.find_methods(["start", "simpleitk-mi", "mind-rigid", "labels"], 2, None, pytest.fail)
    start = RigidTransform.from_euler((4, -3, 5), (2.0, -2.0, 1.5), CENTRE).compose(TRUTH)
    outcomes = bench.run(case, [start], chosen, 0)
    assert outcomes["start"][0].result_mm == outcomes["start"][0].start_mm > 3
    for name in ("simpleitk-mi", "mind-rigid", "labels"):
        (one,) = outcomes[name]
        assert not one.failed
        assert one.start_mm == outcomes["start"][0].start_mm
        assert one.result_mm < 1.0, name


def test_a_peer_that_gives_up_keeps_the_start_and_is_counted(bench, methods, case) -> None:
    away = RigidTransform.from_euler((0, 0, 0), (200.0, 0.0, 0.0)).compose(TRUTH)
    outcomes = bench.run(case, [away], methods.find_methods(["simpleitk-mi", "mind-rigid"], 2, None, pytest.fail), 0)
    for (one,) in outcomes.values():
        assert one.failed
        assert one.result_mm == one.start_mm == pytest.approx(200)


def test_rows_of_the_table(bench, methods) -> None:
    def outcome(before: float, after: float) -> object:
        return methods.Outcome(before, after, 0.5, None, False, None)

    table = bench.rows({"a": {"m": [outcome(4, 1), outcome(2, 3)]}, "b": {"m": [outcome(6, 2), outcome(8, 8)]}})
    assert table[1] == ["a", "m", "3.00", "2.00", "1.00", "50", "0.50"]
    assert table[3] == ["mean", "m", "5.00", "3.50", "2.69", "25", "0.50"]


def test_spearman_by_hand(bench) -> None:
    assert bench.spearman([1, 2, 3, 4], [10, 20, 25, 90]) == pytest.approx(1.0)
    assert bench.spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)
    # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: covariance 4.5, variances 4.5 and 5.
    assert bench.spearman([1, 2, 2, 3], [0, 5, 4, 6]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert np.isnan(bench.spearman([1, 1, 1], [1, 2, 3]))


def test_numbers_of_cases(bench) -> None:
    assert bench.numbers("16-19") == [16, 17, 18, 19]
    assert bench.numbers("0,4,7-8") == [0, 4, 7, 8]
    for wrong in ("16-", "-3", "1-2-3", "", "a"):
        with pytest.raises(ValueError, match=r"cases: expected numbers such as 16-19"):
            bench.numbers(wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--data", "nowhere"], "case16"), (["--methods", "pan", "--cases", "0"], "pan is no rigid model")],
)
def test_what_is_missing_is_said_in_a_sentence(bench, data_folder, capsys, arguments, said) -> None:
    assert bench.main(["--data", str(data_folder / "prostate"), "--threads", "1", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.data
def test_the_whole_command(bench, data_folder, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(bench, "REPEATS", 1)
    file = tmp_path / "figures.json"
    data = ["--data", str(data_folder / "prostate"), "--cases", "3", "--starts", "1", "--threads", "1"]
    assert bench.main([*data, "--methods", "start", "attention-reg-small", "--ensemble", "2", "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    names = list(record["outcomes"]["case03"])
    assert [name.removeprefix("attention-reg-small ") for name in names] == [
        "start", "x1", "x1, ensemble", "x2", "x2, ensemble", "x4", "x4, ensemble",
        "x4, ensemble, from centres", "x4, ensemble + refine",
    ]  # fmt: skip
    assert len({of[0]["start_mm"] for of in record["outcomes"]["case03"].values()}) == 1
    printed = capsys.readouterr().out
    assert "s warm, pass 1" in printed
    assert "0 of 1 refinements kept" in printed or "1 of 1 refinements kept" in printed
