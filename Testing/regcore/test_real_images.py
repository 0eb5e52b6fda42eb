"""Whole registrations of real images; they skip, saying so, without REGCORE_DATA."""

from __future__ import annotations

import json

import pytest
import SimpleITK as sitk

from regcore.cli.main import main

pytestmark = pytest.mark.data


@pytest.mark.slow
def test_benchmark_pair(data_folder, tmp_path):
    brain = data_folder / "brain"
    labels = [
        f"--fixed-labels={brain / 'scan_a_labels13.nii.gz'}",
        f"--moving-labels={brain / 'scan_c_labels13.nii.gz'}",
    ]
    images = [str(brain / "scan_a.nii.gz"), str(brain / "scan_c.nii.gz")]
    assert main(["register", *images, "-o", str(tmp_path), "-q", *labels]) == 0
    figures = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert figures["dsc"]["mean_after"] >= 0.785
    assert figures["folding_percent"] <= 0.001
    assert figures["round_trip_mm"]["mean"] <= 0.1


def test_head_ct_in_2d(data_folder, tmp_path):
    images = [str(data_folder / "head_ct_2d" / f"CT_2D_head_{side}.mha") for side in ("fixed", "moving")]
    assert main(["register", *images, "-o", str(tmp_path), "-q"]) == 0
    figures = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert figures["similarity"]["after"] > figures["similarity"]["before"]
    assert figures["folding_percent"] == 0
    assert sitk.ReadTransform(str(tmp_path / "transform.h5")).GetDimension() == 2
