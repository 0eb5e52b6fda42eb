"""`regcore register` with each of the five papers' models, untrained but for Attention-Reg, and refinement.

Phantoms of the kind each was made for, judged by landmarks in mm; real pairs, judged by labels or likeness.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import SimpleITK as sitk

from regcore.cli.main import main
from regcore.data.phantoms import make_phantom, write_phantom

KNOWN = ("fixed_labels.nii.gz", "moving_labels.nii.gz", "fixed_landmarks.csv", "moving_landmarks.csv")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Write each kind once."""
    written: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in written:
            written[kind] = tmp_path_factory.mktemp(kind)
            write_phantom(make_phantom(kind, 2), written[kind])
        return written[kind]

    return folder


def register(folder: Path, out: Path, *options: object) -> dict:
    known = [f"--{name.split('.')[0].replace('_', '-')}={folder / name}" for name in KNOWN]
    images = [str(folder / f"{side}.nii.gz") for side in ("fixed", "moving")]
    assert main(["register", *images, "-o", str(out), "-q", *known, *map(str, options)]) == 0
    return json.loads((out / "report.json").read_text())


@pytest.mark.parametrize(
    ("model", "kind", "most_mm"),
    [
        pytest.param("pan", "brain", 1.2, id="pan"),
        pytest.param("caml-small", "brain", 1.2, id="caml"),
        pytest.param("resaatt", "cine", 1.3, id="resaatt"),
        pytest.param("unet", "cine", 1.3, id="unet"),
        pytest.param("air", "cine", 1.3, id="air, slice by slice"),
        pytest.param("air", "digits", 0.5, id="air"),
    ],
)
def test_a_deformable_model_and_refinement_find_the_phantoms_truth(phantom, tmp_path, model, kind, most_mm):
    found = register(phantom(kind), tmp_path, "--model", model)
    assert found["tre_mm"]["after"]["mean"] < most_mm
    assert found["tre_mm"]["after"]["mean"] < 0.5 * found["tre_mm"]["before"]["mean"]
    assert found["dsc"]["mean_after"] > found["dsc"]["mean_initial"]
    assert found["folding_percent"] == 0
    assert found["settings"]["slicewise"] is (kind == "cine")
    assert any("no trained weights" in sentence for sentence in found["warnings"])
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_rigid_model_finds_the_gland_of_its_phantom(phantom, tmp_path):
    gland = "--gland-labels=1,2,3,4"
    found = register(phantom("prostate"), tmp_path, "--stages", "attention-reg,refine", gland)
    assert found["tre_mm"]["before"]["mean"] > 4
    assert found["tre_mm"]["after"]["mean"] < 1  # a voxel
    assert found["refinement"]["kept"]
    assert (tmp_path / "transform.tfm").is_file()


@pytest.mark.data
@pytest.mark.parametrize("model", ["resaatt", "air"])
def test_a_real_pair_of_pictures(data_folder, tmp_path, model):
    pair = [str(data_folder / "head_ct_2d" / f"CT_2D_head_{side}.mha") for side in ("fixed", "moving")]
    assert main(["register", *pair, "-o", str(tmp_path), "--model", model, "-q"]) == 0
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["similarity"]["after"] > found["similarity"]["before"] + 0.05
    assert found["folding_percent"] == 0


@pytest.mark.data
@pytest.mark.parametrize("model", ["pan", "caml-small"])
def test_a_real_pair_of_brains(data_folder, tmp_path, model):
    """At 2.5 mm, so that the networks take seconds; the whole size is measured by the benchmarks."""
    files = []
    for name, mode in (("scan_a", sitk.sitkLinear), ("scan_c", sitk.sitkLinear)):
        for suffix, how in (("", mode), ("_labels13", sitk.sitkNearestNeighbor)):
            image = sitk.ReadImage(str(data_folder / "brain" / f"{name}{suffix}.nii.gz"))
            files.append(tmp_path / f"{name}{suffix}.nii.gz")
            sitk.WriteImage(_coarse(image, 2.5, how), str(files[-1]))
    fixed, fixed_labels, moving, moving_labels = map(str, files)
    out = tmp_path / "out"
    labels = (f"--fixed-labels={fixed_labels}", f"--moving-labels={moving_labels}")
    assert main(["register", fixed, moving, "-o", str(out), "--model", model, *labels, "-q"]) == 0
    found = json.loads((out / "report.json").read_text())
    assert found["dsc"]["mean_after"] > found["dsc"]["mean_initial"] + 0.1
    assert found["folding_percent"] == 0


def _coarse(image: sitk.Image, spacing: float, how: int) -> sitk.Image:
    size = [int(n * s / spacing) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    return sitk.Resample(
        image,
        size,
        sitk.Transform(),
        how,
        image.GetOrigin(),
        [spacing] * 3,
        image.GetDirection(),
        0,
        image.GetPixelID(),
    )
