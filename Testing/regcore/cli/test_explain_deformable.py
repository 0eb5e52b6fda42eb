"""`regcore explain` of deformable networks: every one of them, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.cli.main import main
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import write_image
from regcore.models import create_model, list_models, model_info, save_model
from regcore.weights import Trained

from ..sensitive_networks import Brightness

MAPS = ["sensitivity_fixed.nii.gz", "sensitivity_moving.nii.gz", "sensitivity_moving_native.nii.gz"]
NETWORKS = [(name, dimensions) for name in list_models("deformable") for dimensions in model_info(name).dimensions]
PLANAR = next(name for name in list_models("deformable") if model_info(name).dimensions == (2,))
# Sides are no multiples of anything, the axes neither straight nor of one step.
TURNS = {2: np.array([[-1.0, 0.0], [0.0, 1.0]]), 3: np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])}
FIXED = {
    2: Grid.of((30, 26), (1.0, 1.2), (4.0, -7.0), TURNS[2]),
    3: Grid.of((21, 18, 19), (1.7, 2.0, 1.6), direction=TURNS[3]),
}


def grids(dimensions: int) -> tuple[Grid, Grid]:
    """A fixed grid, and a moving one of other voxels about the same place."""
    fixed = FIXED[dimensions]
    moving = Grid.of([n + 3 for n in fixed.size], [1.1 * s for s in fixed.spacing])
    centre = np.asarray(fixed.centre) - np.asarray(moving.centre) + 1.5
    return fixed, Grid.of(moving.size, moving.spacing, centre.tolist())


def blobs(grid: Grid, offset_mm: float) -> Image:
    """Some smooth structure about the grid's centre, ``offset_mm`` from it along every axis."""
    points = grid.points() - torch.as_tensor(grid.centre + offset_mm)
    waves = torch.cos(points * torch.tensor([0.5, 0.7, 0.4])[: grid.dim]).prod(dim=-1)
    return Image((200 * waves * torch.exp(-points.square().sum(-1) / 250)).float(), grid)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[int, Path]:
    found = {}
    for dimensions in (2, 3):
        found[dimensions] = tmp_path_factory.mktemp(f"pair{dimensions}")
        fixed, moving = grids(dimensions)
        write_image(blobs(fixed, 0.0), found[dimensions] / "fixed.nii.gz")
        write_image(blobs(moving, 1.0), found[dimensions] / "moving.nii.gz")
        inside = (fixed.points() - torch.as_tensor(fixed.centre)).norm(dim=-1)
        labels = Image((inside < 10).to(torch.uint8) + (inside < 5).to(torch.uint8), fixed, "uint8")
        write_image(labels, found[dimensions] / "labels.nii.gz")
    return found


def explained(pair: Path, out: Path, model: str, *more: object) -> int:
    images = [str(pair / "fixed.nii.gz"), str(pair / "moving.nii.gz")]
    init = [] if any(str(word).startswith("--init") for word in more) else ["--init=none"]
    return main(["explain", *images, "-o", str(out), "--model", model, *init, *map(str, more)])


def written(out: Path) -> dict:
    return json.loads((out / "explain.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("model", "dimensions"), NETWORKS)
def test_every_network(model, dimensions, pairs, tmp_path, capsys):
    assert explained(pairs[dimensions], tmp_path, model, "--draws=1", "-q") == 0
    assert capsys.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explain.html", "explain.json", *MAPS]
    for name in MAPS:
        found = sitk.ReadImage(str(tmp_path / name))
        like = sitk.ReadImage(str(pairs[dimensions] / ("moving.nii.gz" if "native" in name else "fixed.nii.gz")))
        assert found.GetSize() == like.GetSize()
        np.testing.assert_allclose(found.GetSpacing(), like.GetSpacing(), atol=1e-5)
        np.testing.assert_allclose(found.GetOrigin(), like.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(found.GetDirection(), like.GetDirection(), atol=1e-5)
        values = sitk.GetArrayFromImage(found)
        assert np.isfinite(values).all()
        assert 0 <= values.min() < values.max() < 1 + 1e-5
    said = written(tmp_path)
    assert said["model"] == model
    assert said["start"] == "none"
    assert said["share_of_image"]["fixed"] + said["share_of_image"]["moving"] == pytest.approx(1)
    if said["weights"] is None:
        assert any("no trained weights" in sentence for sentence in said["warnings"])
        assert "no trained weights" in (tmp_path / "explain.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_model(create_model("pan"), folder / "pan.stage1.safetensors")
    return folder


@pytest.fixture(scope="module")
def result(pairs, weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("deep") / "not" / "there yet"
    options = (f"--weights={weights}", f"--fixed-labels={pairs[3] / 'labels.nii.gz'}", "--voxel=10,8,9", "-q")
    assert explained(pairs[3], out, "pan", *options) == 0
    return out


def test_json_says_what_was_done(pairs, result):
    said = written(result)
    assert said["model"] == said["network"] == "pan"
    assert len(said["weights"]["pan.stage1.safetensors"]) == 64
    assert (said["target"], said["voxel"], said["draws"]) == ("voxel", [10, 8, 9], None)
    assert said["grid"]["most_voxels"] == 96**3
    assert said["grid"]["spacing"] == [1.6, 1.6, 1.6]
    assert 0 < said["in_labels"]["even"] < 1
    assert 0 < said["in_labels"]["fixed"] <= 1
    assert said["labels"] is None
    assert said["slicewise"] is False
    assert said["transform"] == np.eye(4).tolist()
    assert said["warnings"] == []
    for side in ("fixed", "moving"):
        strongest = said["strongest"][side]
        np.testing.assert_allclose(FIXED[3].to_world(strongest["voxel"]), strongest["mm"], atol=1.0)
    for name in ("explain.json", "explain.html"):
        assert str(pairs[3]) not in (result / name).read_text(encoding="utf-8")
    page = (result / "explain.html").read_text(encoding="utf-8")
    assert "voxel 10, 8, 9" in page
    assert "the cross: the voxel chosen" in page


def test_native_map_is_the_one_on_the_fixed_grid_through_the_start(pairs, tmp_path):
    way = sitk.Euler3DTransform()
    way.SetCenter(FIXED[3].centre.tolist())
    way.SetRotation(0.1, -0.05, 0.15)
    way.SetTranslation((1.0, -2.0, 1.5))
    sitk.WriteTransform(way, str(tmp_path / "start.tfm"))
    assert explained(pairs[3], tmp_path / "out", "pan", f"--init={tmp_path / 'start.tfm'}", "-q") == 0
    said = written(tmp_path / "out")
    assert said["start"] == "start.tfm"
    there = np.array(said["transform"]) @ [3.0, -4.0, 5.0, 1.0]
    np.testing.assert_allclose(there[:3], way.TransformPoint((3.0, -4.0, 5.0)), atol=1e-5)
    native, on_fixed = (sitk.ReadImage(str(tmp_path / "out" / name)) for name in (MAPS[2], MAPS[1]))
    theirs = sitk.GetArrayFromImage(sitk.Resample(native, on_fixed, way))
    ours = sitk.GetArrayFromImage(on_fixed)
    seen = theirs > 0
    assert seen.mean() > 0.5
    assert np.corrcoef(theirs[seen], ours[seen])[0, 1] > 0.95


def test_labels_draws_and_spacing(pairs, tmp_path, capsys):
    options = (
        f"--fixed-labels={pairs[3] / 'labels.nii.gz'}",
        "--gland-labels=2",
        "--draws=2",
        "--spacing=3",
        "--seed=4",
    )
    assert explained(pairs[3], tmp_path, "pan", *options) == 0
    said = written(tmp_path)
    assert (said["labels"], said["draws"], said["seed"]) == ([2], 2, 4)
    assert said["grid"]["spacing"] == [3, 3, 3]
    assert said["in_labels"]["even"] < 0.15
    shown = capsys.readouterr()
    assert "fixed map in labels" in shown.out
    assert "explain.html" in shown.out
    assert "network" in shown.err


def test_the_start_is_that_of_a_registration(pairs, tmp_path):
    assert explained(pairs[2], tmp_path, PLANAR, "--init=centre,rigid", "--draws=1", "-q") == 0
    assert written(tmp_path)["start"] == "centre,rigid"
    images = [str(pairs[2] / f"{side}.nii.gz") for side in ("fixed", "moving")]
    assert main(["explain", *images, "-o", str(tmp_path / "usual"), "--model", PLANAR, "--draws=1", "-q"]) == 0
    assert written(tmp_path / "usual")["start"] == "affine"


def test_a_planar_network_sees_a_volume_slice_by_slice(pairs, tmp_path):
    assert explained(pairs[3], tmp_path, PLANAR, "--draws=1", "-q") == 0
    said = written(tmp_path)
    assert said["slicewise"] is True
    assert "slice by slice" in (tmp_path / "explain.html").read_text(encoding="utf-8")


def test_an_image_that_is_not_looked_at_is_said_to_be(pairs, tmp_path, monkeypatch, capsys):
    network = Brightness(3, of_moving=0).eval()
    monkeypatch.setattr("regcore.cli.explain_deformable.load_trained", lambda *_: Trained("pan", (network,), {}))
    assert explained(pairs[3], tmp_path, "pan", "--draws=1") == 0
    said = written(tmp_path)
    assert said["share_of_image"] == {"fixed": 1, "moving": 0}
    assert said["strongest"]["moving"] is None
    assert said["warnings"] == ["The map of the moving image is empty: no change of it would change the displacement."]
    assert said["warnings"][0] in (tmp_path / "explain.html").read_text(encoding="utf-8")
    for name in MAPS:
        assert (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name))).max() > 0) == (name == MAPS[0])


def test_a_network_that_looks_at_nothing(pairs, tmp_path, monkeypatch, capsys):
    network = Brightness(3, 0, 0).eval()
    monkeypatch.setattr("regcore.cli.explain_deformable.load_trained", lambda *_: Trained("pan", (network,), {}))
    assert explained(pairs[3], tmp_path, "pan", "--draws=1", f"--fixed-labels={pairs[3] / 'labels.nii.gz'}") == 0
    said = written(tmp_path)
    assert said["share_of_image"] == {"fixed": None, "moving": None}
    assert said["in_labels"]["fixed"] is None
    assert len(said["warnings"]) == 2
    assert "empty" in capsys.readouterr().out


def refused(capsys, pair: Path, out: Path, model: str, *arguments: object) -> str:
    before = sorted(out.parent.rglob("*"))
    assert explained(pair, out, model, *arguments, "-q") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("regcore: ")
    assert sorted(out.parent.rglob("*")) == before
    return said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--voxel=500,1,1",), "voxel: expected i,j,k inside the fixed image of 21x18x19 voxels"),
        (("--voxel=1,1",), "voxel: expected i,j,k"),
        (("--voxel=here",), "voxel: expected whole numbers"),
        (("--gland-labels=1",), "gland-labels: they name labels of --fixed-labels"),
        (("--fixed-labels=LABELS", "--gland-labels=7"), "label 7, the gland, is empty"),
        (("--stage=1",), "stage: pan is a deformable network, which has no such option"),
        (("--mode=weights",), "mode: pan is a deformable network"),
        (("--target=tx",), "target: pan is a deformable network"),
        (("--init=sideways",), "init: expected none, centre, moments, rigid, affine or a transform file, got sideways"),
        (("--init=affine,labels",), "init: expected none"),
        (("--spacing=0",), "spacing: expected a voxel size above 0 mm"),
        (("--draws=0",), "draws: expected at least 1"),
        (("--weights=.",), "weights: expected pan"),
        (("--device=quantum",), "device: expected auto, cpu"),
    ],
)
def test_bad_option(options, words, pairs, tmp_path, capsys):
    given = [option.replace("LABELS", str(pairs[3] / "labels.nii.gz")) for option in options]
    assert words in refused(capsys, pairs[3], tmp_path / "out", "pan", *given)


def test_bad_pairs(pairs, tmp_path, capsys):
    assert "pan does not register 2D images" in refused(capsys, pairs[2], tmp_path / "out", "pan")
    assert "voxel: expected i,j inside" in refused(capsys, pairs[2], tmp_path / "out", PLANAR, "--voxel=1,2,3")
    far = sitk.TranslationTransform(3, [900.0, 0.0, 0.0])
    sitk.WriteTransform(far, str(tmp_path / "far.tfm"))
    said = refused(capsys, pairs[3], tmp_path / "out", "pan", f"--init={tmp_path / 'far.tfm'}")
    assert "moving: after the initial transform it covers less than 1 %" in said


def test_options_of_deformable_networks_are_refused_for_rigid_ones(pairs, tmp_path, capsys):
    for option in ("--draws=3", "--spacing=2", "--device=cpu"):
        said = refused(capsys, pairs[3], tmp_path / "out", "attention-reg-small", option)
        assert "attention-reg-small is a rigid network, which has no such option" in said


def test_cancelled_between_draws(pairs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("regcore.cli.explain_deformable.cancel_on_interrupt", _After(6))
    assert explained(pairs[3], tmp_path / "out", "pan", "--draws=1000", "-q") == 4
    assert "cancelled; nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class _After:
    """A cancel check that says yes the n-th time it is asked."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> _After:
        return self

    def __enter__(self):
        return self.asked

    def __exit__(self, *_: object) -> None:
        pass

    def asked(self) -> bool:
        self.left -= 1
        return self.left <= 0
