"""The benchmark's other contrast, the methods it runs, and how much Dice falls."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk

FOLDER = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def _beside_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def contrast() -> ModuleType:
    return importlib.import_module("contrast")


def test_inversion_turns_the_order_over_inside_and_keeps_the_outline(contrast) -> None:
    values = np.array([0, 0, 5, 40, 100], dtype=np.int16)
    turned = contrast.inverted(values)
    assert turned.tolist() == [0, 0, 95, 60, 5]
    assert turned.dtype == np.int16
    random = np.random.default_rng(0).uniform(-1, 3, (6, 7, 8))
    turned = contrast.inverted(random)
    assert ((turned > 0) == (random > 0)).all()
    np.testing.assert_array_equal(turned[random <= 0], random[random <= 0])
    inside = random[random > 0]
    assert (np.diff(turned[random > 0][np.argsort(inside)]) <= 0).all()
    with pytest.raises(ValueError, match="intensities above 0"):
        contrast.inverted(np.zeros(4))


def test_the_inverted_image_lies_where_the_plain_one_did(contrast, tmp_path: Path) -> None:
    plain = sitk.GetImageFromArray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    plain.SetSpacing((1.0, 2.0, 3.0))
    plain.SetOrigin((-4.0, 5.0, 6.0))
    sitk.WriteImage(plain, str(tmp_path / "plain.nii.gz"))
    turned = sitk.ReadImage(str(contrast.write_inverted(tmp_path / "plain.nii.gz", tmp_path / "turned.nii.gz")))
    assert (turned.GetSpacing(), turned.GetOrigin()) == (plain.GetSpacing(), plain.GetOrigin())
    assert sitk.GetArrayFromImage(turned)[0, 0].tolist() == [0, 22, 21, 20]


def test_falls_compare_what_ran_in_both_contrasts(contrast) -> None:
    plain = {"a": {"dice": 0.8}, "b": {"dice": 0.7}}
    found = contrast.falls(plain, {"a": {"dice": 0.75, "folding_percent": 0.1}, "c": {"dice": 0.1}})
    assert list(found) == ["a"]
    assert found["a"]["fall"] == pytest.approx(0.05)


def test_each_model_runs_alone_and_with_refinement(tmp_path: Path) -> None:
    methods = importlib.import_module("methods")
    found = methods.methods_with(["some-model"])
    assert list(found) == ["affine", "regcore", "some-model-alone", "some-model-refined", "greedy", "demons", "ants"]
    task = methods.Task(Path("f"), Path("m"), Path("a"), 1)
    alone, refined = (
        list(map(str, found[f"some-model-{how}"].command(task, tmp_path))) for how in ("alone", "refined")
    )
    assert alone[-4:] == ["--model", "some-model", "--refine", "0"]
    assert refined == alone[:-2]


def test_the_catalogue_gives_trained_3d_models_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = importlib.import_module("catalogue")
    plain = {"name": "a", "kind": "deformable", "dimensions": [3], "weights": ["a.safetensors"], "problem": None}
    other = [{"kind": "rigid"}, {"dimensions": [2]}, {"weights": None}, {"problem": "damaged"}]
    listed = json.dumps([plain, *[plain | each for each in other]])
    monkeypatch.setattr(catalogue.subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": listed}))
    assert catalogue.trained_models("deformable") == [plain]
    assert catalogue.trained_models("rigid") == [plain | {"kind": "rigid"}]
