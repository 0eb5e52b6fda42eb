"""The benchmark's own scoring, which runs without the package, agrees with the package's metrics."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk

from regcore.image import Image
from regcore.io import write_image, write_transform
from regcore.metrics import dsc, folding_percent, sdlogj, surface_distances
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform
from regcore.warp import warp

FOLDER = Path(__file__).resolve().parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_scores_agree_with_the_packages_metrics(tmp_path: Path, awkward_grids, smooth_field, as_itk) -> None:
    fixed, moving = awkward_grids["rotated"], awkward_grids["permuted"]
    labels = {}
    for name, grid in (("fixed", fixed), ("moving", moving)):
        labels[name] = Image((grid.points()[..., 0] > grid.centre[0]).long() + 1, grid, "uint8")
        write_image(labels[name], tmp_path / f"{name}.nii.gz")
    field = smooth_field(fixed, 25.0, 2)  # strong enough to fold somewhere
    affine = AffineTransform.of(np.diag([1.05, 0.97, 1.02]), (1, -2, 0.5), fixed.centre)
    sitk.WriteImage(as_itk(field), str(tmp_path / "warp.nii.gz"))
    write_transform(affine, tmp_path / "affine.h5")
    got = _load("scoring").score(
        [tmp_path / "warp.nii.gz", tmp_path / "affine.h5"], tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"
    )
    chain = CompositeTransform((DenseTransform(field), affine))
    determinant = chain.displacement_on(fixed).jacobian_determinant()
    warped = warp(labels["moving"], chain, fixed, "nearest").data
    overlap = dsc(warped, labels["fixed"].data)
    surfaces = surface_distances(labels["fixed"].data, warped, fixed.spacing)
    assert got.folding_percent > 0.1
    assert got.folding_percent == pytest.approx(folding_percent(determinant), abs=0.02)
    assert got.sdlogj == pytest.approx(sdlogj(determinant), rel=1e-3)
    assert got.dice_per_label == pytest.approx(overlap, abs=1e-3)
    assert got.dice == pytest.approx(np.mean(list(overlap.values())), abs=1e-3)
    assert got.hd95_mm > 1
    assert got.hd95_mm == pytest.approx(np.mean(list(surfaces.hd95.values())), abs=0.02)


def test_a_label_that_is_lost_has_no_surface_distance(tmp_path: Path) -> None:
    both, one = np.zeros((2, 8, 8, 8), dtype=np.uint8)
    both[2:5, 2:5, 2:5], both[6:, 6:, 6:], one[2:5, 2:5, 2:5] = 1, 3, 1
    for name, labels in (("both", both), ("one", one)):
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / f"{name}.nii.gz"))
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "still.tfm"))
    scoring = _load("scoring")
    lost = scoring.score([tmp_path / "still.tfm"], tmp_path / "both.nii.gz", tmp_path / "one.nii.gz")
    assert np.isnan(lost.hd95_mm)
    assert lost.dice_per_label == {1: 1.0, 3: 0.0}
    kept = scoring.score([tmp_path / "still.tfm"], tmp_path / "one.nii.gz", tmp_path / "both.nii.gz")
    assert kept.hd95_mm == 0


def test_measured_cost_is_of_the_child_alone_and_a_failure_is_told(tmp_path: Path) -> None:
    measured = _load("measured")
    spin = "import time; s = time.process_time()\nwhile time.process_time() < s + 0.3: pass"
    cost = measured.run_measured([sys.executable, "-c", spin], tmp_path / "log", threads=1)
    assert 0.3 <= cost.cpu_s < 2
    assert cost.wall_s >= 0.3
    assert cost.peak_mib > 1
    with pytest.raises(measured.FailedError, match=r"ended with 3.*no such luck"):
        measured.run_measured([sys.executable, "-c", "print('no such luck'); exit(3)"], tmp_path / "log", 1)


def test_the_table_relates_each_method_to_greedy() -> None:
    table = _load("table")
    row = {"dice": 0.8, "folding_percent": 0.0, "sdlogj": 0.3, "wall_s": 2.0, "cpu_s": 3.0, "peak_mib": 10.0}
    rows = {"greedy": table.medians([row, {**row, "cpu_s": 5.0}]), "ours": {**row, "dice": 0.85, "cpu_s": 1.0}}
    table.compare(rows)
    cells = table.cells({"greedy": "greedy", "ours": "ours"}, rows)
    assert cells[1][-2:] == ["1.00", "+0.0000"]
    assert cells[2][-2:] == ["0.25", "+0.0500"]
    assert table.as_markdown(cells).count("\n") == 3
    assert {len(line) for line in table.as_text(cells).splitlines()} == {len(table.as_text(cells).splitlines()[0])}


def test_greedy_gets_the_affine_in_ras() -> None:
    itk = sitk.AffineTransform((1.1, 0.1, 0.2, -0.1, 0.9, 0.3, 0.0, -0.2, 1.0), (4.0, -5.0, 6.0), (7.0, 8.0, 9.0))
    left, posterior, up = itk.TransformPoint((10.0, -20.0, 30.0))
    moved = _load("ras").ras_matrix(itk) @ (-10.0, 20.0, 30.0, 1.0)
    np.testing.assert_allclose(moved, (-left, -posterior, up, 1.0), atol=1e-9)
