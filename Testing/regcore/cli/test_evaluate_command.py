"""`regcore evaluate`: a cohort of tiny pairs from its table to figures, report and comparison."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from regcore.cli import evaluate_pair
from regcore.cli.main import main
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import read_image, read_labels, read_transform, write_image, write_transform
from regcore.landmarks import Landmarks, read_landmarks, write_landmarks
from regcore.metrics.landmarks import tre
from regcore.metrics.overlap import dsc
from regcore.metrics.regularity import folding_percent, sdlogj
from regcore.metrics.surface import surface_distances
from regcore.transform import AffineTransform
from regcore.warp import warp

from ..pairs import blob_image, centred_grid

COLUMNS = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
QUICK = ("--refine", 5, "--init", "none", "-q")
PAIRS = 7


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Folder of a table and its pairs: the same blobs, the moving ones shifted ever further."""
    folder = tmp_path_factory.mktemp("Doe_Jane")
    grid = centred_grid((24, 24, 24), (2.0, 2.0, 2.0))
    fixed = blob_image(grid)
    labels = (fixed.data > 0.3).to(torch.int16) + (fixed.data > 0.6).to(torch.int16)
    points = np.random.default_rng(0).uniform(-12, 12, (5, 3))
    rows = [",".join(("id", *COLUMNS))]
    for number in range(PAIRS):
        shift = np.array([2.0 + 0.4 * number, 0.3 * number, 0.0])
        there = Grid.of(grid.size, grid.spacing, np.add(grid.origin, shift))
        for side, where, offset in (("fixed", grid, 0.0), ("moving", there, shift)):
            write_image(Image(fixed.data, where), folder / f"{side}{number}.nii.gz")
            write_image(Image(labels, where), folder / f"{side}_labels{number}.nii.gz")
            write_landmarks(Landmarks.of(points + offset), folder / f"{side}_landmarks{number}.csv")
        endings = (f"{number}.csv" if "landmarks" in column else f"{number}.nii.gz" for column in COLUMNS)
        rows.append(",".join((f"p{number}", *(c + e for c, e in zip(COLUMNS, endings, strict=True)))))
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def done(cohort, tmp_path_factory) -> Path:
    """Results of all pairs with the quick settings."""
    folder = tmp_path_factory.mktemp("out") / "quick"
    assert evaluate(cohort / "pairs.csv", folder, *QUICK) == 0
    return folder


@pytest.fixture
def again(done, tmp_path) -> Path:
    """Those results as a copy of one's own."""
    return Path(shutil.copytree(done, tmp_path / "quick"))


def evaluate(table: Path, out: Path, *options: object) -> int:
    return main(["evaluate", str(table), "-o", str(out), *[str(option) for option in options]])


def first_pairs(cohort: Path, number: int, name: str = "few.csv", extra: str = "") -> Path:
    """Write a shorter table beside the full one."""
    lines = (cohort / "pairs.csv").read_text().splitlines()[: number + 1]
    (cohort / name).write_text("\n".join(lines) + "\n" + extra)
    return cohort / name


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def figures_of(folder: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows_of(folder)]


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def times(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/report.json")}


def test_metrics_are_those_of_the_written_transform(cohort, done):
    rows = rows_of(done)
    assert [(row["pair"], row["label"]) for row in rows] == [(f"p{n}", label) for n in range(PAIRS) for label in "12"]
    fixed = read_image(cohort / "fixed3.nii.gz", "fixed")
    there, moving = (read_labels(cohort / f"{side}_labels3.nii.gz") for side in ("fixed", "moving"))
    transform = read_transform(done / "p3" / "transform.h5", fixed.grid)
    field = transform.displacement_on(fixed.grid)
    warped = warp(moving, field, fixed.grid, "nearest")
    points = [read_landmarks(cohort / f"{side}_landmarks3.csv").points for side in ("fixed", "moving")]
    surfaces = surface_distances(there.data, warped.data, fixed.grid.spacing)
    before = warp(moving, AffineTransform.identity(3), fixed.grid, "nearest")
    for row in rows[6:8]:
        label = int(row["label"])
        wanted = {
            "DSC before": dsc(there.data, before.data)[label],
            "DSC": dsc(there.data, warped.data)[label],
            "HD95 [mm]": surfaces.hd95[label],
            "ASSD [mm]": surfaces.assd[label],
            "TRE [mm] before": tre(*points, AffineTransform.identity(3)).mean(),
            "TRE [mm]": tre(*points, transform).mean(),
            "|J|<=0 [%]": folding_percent(field.jacobian_determinant()),
            "SDlogJ": sdlogj(field.jacobian_determinant()),
        }
        assert {key: float(row[key]) for key in wanted} == pytest.approx(wanted, abs=2e-4)
        assert row["SRE [mm]"] == ""
        assert float(row["TRE [mm]"]) < float(row["TRE [mm] before"])


def test_summary_describes_every_pair_once(done):
    summary, rows = summary_of(done), rows_of(done)
    errors = [float(row["TRE [mm]"]) for row in rows if row["label"] == "1"]
    found = summary["metrics"]["TRE [mm]"]
    assert found["number"] == summary["done"] == summary["pairs"] == PAIRS
    assert found["mean"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert found["sd"] == pytest.approx(np.std(errors, ddof=1), rel=1e-4)
    assert found["median"] == pytest.approx(np.median(errors), rel=1e-5)
    scores = [np.mean([float(row["DSC"]) for row in rows if row["pair"] == f"p{n}"]) for n in range(PAIRS)]
    assert summary["metrics"]["DSC"]["mean"] == pytest.approx(np.mean(scores), rel=1e-5)
    second = [float(row["DSC"]) for row in rows if row["label"] == "2"]
    assert summary["labels"]["2"]["DSC"]["median"] == pytest.approx(np.median(second), rel=1e-5)
    assert "SRE [mm]" not in summary["metrics"]
    assert summary["settings"]["refine"] == 5


def test_outputs_name_no_folder_of_the_inputs(done):
    for path in [*done.glob("*.*"), *done.glob("*/report.json")]:
        text = path.read_text()
        assert "Doe" not in text
        assert str(done.parent) not in text
    assert {path.name for path in done.iterdir() if path.is_file()} == {"metrics.csv", "summary.json", "report.html"}
    assert {path.name for path in (done / "p0").iterdir()} == {"report.json", "transform.h5"}
    assert "http" not in (done / "report.html").read_text()


@pytest.fixture
def registered(monkeypatch) -> list[str]:
    """Names of the fixed files that were registered since."""
    seen: list[str] = []
    original = evaluate_pair._registered

    def counting(plan, case, *rest):
        seen.append(case.id)
        return original(plan, case, *rest)

    monkeypatch.setattr(evaluate_pair, "_registered", counting)
    return seen


def test_what_is_done_is_not_done_again(cohort, again, registered):
    before, figures = times(again), rows_of(again)
    assert evaluate(cohort / "pairs.csv", again, *QUICK) == 0
    assert registered == []
    assert times(again) == before
    assert rows_of(again) == figures


def test_unfinished_pairs_alone_are_done(cohort, again, registered):
    (again / "p1" / "report.json").write_text((again / "p1" / "report.json").read_text()[:-40])
    (again / "p2" / "report.json").unlink()
    (again / "p4" / "transform.h5").unlink()
    assert evaluate(cohort / "pairs.csv", again, *QUICK) == 0
    assert registered == ["p1", "p2", "p4"]


def test_a_changed_setting_or_file_is_done_again(cohort, done, again, registered, tmp_path):
    table = first_pairs(cohort, 2)
    assert evaluate(table, again, "--refine", 6, "--init", "none", "-q") == 0
    assert registered == ["p0", "p1"]
    moved = Path(shutil.copytree(cohort, tmp_path / "moved"))
    copied = Path(shutil.copytree(done, tmp_path / "copied"))
    shutil.copy(moved / "moving5.nii.gz", moved / "moving1.nii.gz")
    assert evaluate(moved / "few.csv", copied, *QUICK) == 0
    assert registered == ["p0", "p1", "p1"]


def test_a_failing_pair_is_recorded_and_the_rest_goes_on(cohort, tmp_path, capsys):
    (cohort / "broken.nii.gz").write_bytes(b"not an image")
    table = first_pairs(cohort, 2, "failing.csv", "bad,broken.nii.gz,moving0.nii.gz,,,,\n")
    out = tmp_path / "out"
    assert evaluate(table, out, *QUICK) == 0
    said = capsys.readouterr().err
    assert said == "regcore: warning: 1 of 3 pairs failed, see summary.json: bad\n"
    summary = summary_of(out)
    assert (summary["pairs"], summary["done"]) == (3, 2)
    assert list(summary["failures"]) == ["bad"]
    assert "broken.nii.gz" in summary["failures"]["bad"]
    assert "Doe" not in summary["failures"]["bad"]
    assert {row["pair"] for row in rows_of(out)} == {"p0", "p1"}
    assert not (out / "bad").exists()
    assert "bad failed" in (out / "report.html").read_text()


def test_a_pair_that_fails_now_loses_its_earlier_result(cohort, again, tmp_path):
    moved = Path(shutil.copytree(cohort, tmp_path / "moved"))
    (moved / "moving1.nii.gz").write_bytes(b"gone bad")
    assert evaluate(first_pairs(moved, 2), again, *QUICK) == 0
    assert not (again / "p1").exists()
    assert (again / "p0").exists()


def test_all_pairs_failing_is_an_error(cohort, tmp_path, capsys):
    (cohort / "broken.nii.gz").write_bytes(b"not an image")
    table = first_pairs(cohort, 0, "none.csv", "bad,broken.nii.gz,moving0.nii.gz,,,,\n")
    assert evaluate(table, tmp_path / "out", *QUICK) == 2
    assert "all 1 pairs failed, the first (bad) because: fixed" in capsys.readouterr().err
    assert summary_of(tmp_path / "out")["metrics"] == {}
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--jobs", 0), "jobs: expected 1 or more"),
        (("--jobs", 2, "--dask", "tcp://nowhere:1"), "jobs: the cluster decides"),
        (("--refine", -1), "refine: expected 0 or more"),
        (("--model", "nothing"), "nothing"),
        (("--compare", "nowhere"), "compare: there is no metrics.csv in nowhere"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(cohort, tmp_path, capsys, options, sentence):
    assert evaluate(cohort / "pairs.csv", tmp_path / "out", *options) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_bad_table_is_refused_before_anything_is_written(cohort, tmp_path, capsys):
    table = first_pairs(cohort, 1, "bad.csv", "p0,fixed1.nii.gz,gone.nii.gz,,,,\n")
    assert evaluate(table, tmp_path / "out", *QUICK) == 2
    said = capsys.readouterr().err
    assert said == "regcore: bad.csv: row 3: moving: no such file: gone.nii.gz; row 3: id p0 is that of row 2 already\n"
    assert not (tmp_path / "out").exists()


def test_a_start_from_the_table_takes_the_place_of_init(cohort, tmp_path):
    shift = AffineTransform.of(np.eye(3), [2.0, 0.0, 0.0])
    write_transform(shift, cohort / "start.tfm")
    table = cohort / "start.csv"
    table.write_text(
        "id,fixed,moving,fixed_landmarks,moving_landmarks,initial_transform\n"
        "p,fixed0.nii.gz,moving0.nii.gz,fixed_landmarks0.csv,moving_landmarks0.csv,start.tfm\n"
        "q,fixed0.nii.gz,moving0.nii.gz,fixed_landmarks0.csv,moving_landmarks0.csv,identity\n"
    )
    assert evaluate(table, tmp_path / "out", "--refine", 0, "--init", "affine", "-q") == 0
    rows = rows_of(tmp_path / "out")
    assert [row["label"] for row in rows] == ["", ""]
    assert [float(row["TRE [mm] before"]) for row in rows] == pytest.approx([2, 2], abs=1e-4)
    assert [float(row["TRE [mm]"]) for row in rows] == pytest.approx([0, 2], abs=1e-4)


def test_two_processes_find_the_same(cohort, done, tmp_path):
    assert evaluate(cohort / "pairs.csv", tmp_path / "out", *QUICK, "--jobs", 2) == 0
    assert figures_of(tmp_path / "out") == figures_of(done)


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_finds_the_same(cohort, done, tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    table = first_pairs(cohort, 3, "dask.csv", "bad,fixed0.nii.gz,pairs.csv,,,,\n")
    with distributed.LocalCluster(**options) as cluster:
        assert evaluate(table, tmp_path / "out", *QUICK, "--dask", cluster.scheduler_address) == 0
    assert figures_of(tmp_path / "out") == figures_of(done)[:6]
    assert "Doe" not in summary_of(tmp_path / "out")["failures"]["bad"]


def test_the_missing_package_is_named(cohort, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    assert evaluate(cohort / "pairs.csv", tmp_path / "out", *QUICK, "--dask", "tcp://localhost:1") == 2
    assert "pip install attention-registration[cluster]" in capsys.readouterr().err


def test_comparison_names_both_runs_and_p(cohort, done, tmp_path):
    out = tmp_path / "none_at_all"
    assert evaluate(cohort / "pairs.csv", out, "--refine", 0, "--init", "none", "-q", "--compare", done) == 0
    found = summary_of(out)["comparison"]
    assert found["with"] == "quick"
    error = found["metrics"]["TRE [mm]"]
    # All seven pairs are worse without refinement: the most extreme of 2 ** 7 outcomes, on either side.
    assert error["number"] == PAIRS
    assert error["p"] == pytest.approx(2 / 2**PAIRS)
    assert error["median_difference"] > 0
    page = (out / "report.html").read_text()
    assert "none_at_all against quick" in page
    assert f"{2 / 2**PAIRS:.4f}" in page
    assert page.count("<svg") > 5


def test_interrupting_keeps_what_is_finished(cohort, tmp_path, capsys, monkeypatch):
    original = evaluate_pair._registered

    def interrupted(plan, case, *rest):
        if case.id == "p2":
            signal.raise_signal(signal.SIGINT)
        return original(plan, case, *rest)

    monkeypatch.setattr(evaluate_pair, "_registered", interrupted)
    out = tmp_path / "out"
    assert evaluate(cohort / "pairs.csv", out, *QUICK) == 4
    assert "at least 2 of 7 pairs are kept" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["p0", "p1"]
