"""The page of a deformable network: pictures the right way round and in the right place, safe, and standing alone."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from regcore.deformable_explanation import DeformableExplanation
from regcore.grid import Grid, Matrix
from regcore.image import Image, Reorientation
from regcore.preprocess import Inputs, registration_grid
from regcore.report_pictures import PlaneViews
from regcore.sensitivity_report import draw_sensitivity, write_sensitivity
from regcore.transform import RigidTransform

SUMMARY = {
    "version": "0.1.0",
    "model": "pan",
    "network": "pan",
    "weights": {"pan.stage1.safetensors": "abc"},
    "target": "all",
    "target_note": "random signs",
    "voxel": None,
    "draws": 8,
    "seed": 0,
    "smoothing_voxels": 1.0,
    "start": "affine",
    "transform": None,
    "grid": {"size": [20, 21, 22], "spacing": [2.25, 2.25, 2.25], "most_voxels": 884736},
    "slicewise": False,
    "displacement_mm": {"mean": 1.25, "max": 4.5, "at_voxel": 2.75},
    "share_of_image": {"fixed": 0.62, "moving": 0.38},
    "strongest": {"fixed": {"voxel": [3, 4, 5], "mm": [0.0, 1.0, 2.0], "value": 0.0123}, "moving": None},
    "in_labels": None,
    "labels": None,
    "warnings": ["look <here>"],
    "fixed": {"file": "a<img onerror=alert(1)>.nii.gz", "size": [40, 48, 30], "spacing": [1, 1, 2]},
    "moving": {"file": "b&c.nii.gz", "size": [41, 48, 30], "spacing": [1.0, 1.0, 2.0]},
}
FIXED, MOVING = "Fixed, sensitivity", "Moving, sensitivity"


def spot(grid: Grid, where: Matrix, sigma: float = 2.0) -> Image:
    squared = (grid.points() - torch.as_tensor(where)).square().sum(-1)
    return Image(torch.exp(-squared / (2 * sigma**2)).float(), grid)


def scene(stored: Grid, offset: Matrix, strength: float = 1.0) -> tuple[DeformableExplanation, Inputs, Matrix]:
    """A bright spot in both images and maps, ``offset`` mm along the volume's axes; the moving one lies elsewhere."""
    grid = registration_grid(Reorientation.to_canonical(stored).grid(stored), 1.2)
    dim = grid.dim
    where = grid.centre + grid.axes @ offset
    shift = RigidTransform(np.eye(dim), np.array([2.0, 1.0, -3.0])[:dim], grid.centre)
    inside = (stored.points() - torch.as_tensor(stored.centre)).norm(dim=-1) <= 9
    region = Image(inside.to(torch.uint8), stored, "uint8")
    inputs = Inputs(spot(stored, where), spot(stored, shift(where)), fixed_gland=region)
    weaker = spot(grid, where)
    found = DeformableExplanation(
        shift, spot(grid, where), weaker.with_data(strength * weaker.data), spot(grid, where), None
    )
    return found, inputs, where


def pixels(plane: PlaneViews, title: str) -> np.ndarray:
    view = next(view for view in plane.views if view.title == title)
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(view.uri.split(",")[1])))).astype(float)


def coloured_at(picture: np.ndarray) -> tuple[float, float]:
    """Row and column of the middle of what is not grey, as shares of the picture, 0 at the middle."""
    weight = np.ptp(picture, axis=2)
    weight = np.where(weight > 0.5 * weight.max(), weight, 0)
    rows, columns = (np.arange(n) + 0.5 for n in weight.shape)
    row, column = (weight * rows[:, None]).sum() / weight.sum(), (weight * columns).sum() / weight.sum()
    return row / weight.shape[0] - 0.5, column / weight.shape[1] - 0.5


@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("name", ["flipped", "permuted", "mirrored"])
def test_what_lies_left_anterior_and_superior_is_drawn_there(name, chosen, awkward_grids):
    offset = np.array([4.0, -5.0, 3.0])  # to the left, to anterior, to superior
    found, inputs, where = scene(awkward_grids[name], offset)
    sides = np.asarray(found.grid.extent)
    wanted = {
        "Axial": (offset[1] / sides[1], offset[0] / sides[0]),
        "Coronal": (-offset[2] / sides[2], offset[0] / sides[0]),
        "Sagittal": (-offset[2] / sides[2], offset[1] / sides[1]),
    }
    letters = {"Axial": "RLAP", "Coronal": "RLSI", "Sagittal": "APSI"}
    planes = list(draw_sensitivity(found, inputs, where if chosen else None))
    assert [plane.name.split(",")[0] for plane in planes] == list(wanted)
    for plane in planes:
        name = plane.name.split(",")[0]
        assert plane.name.endswith("the image's middle")
        assert plane.sides == letters[name]
        assert plane.bar_percent == pytest.approx(100 * 10 / sides[int(name == "Sagittal")], rel=0.01)
        for title in (FIXED, MOVING):
            assert coloured_at(pixels(plane, title)) == pytest.approx(wanted[name], abs=0.03)


@pytest.mark.parametrize("name", ["plane", "plane_rotated"])
def test_a_plane_is_drawn_whole(name, awkward_grids):
    offset = np.array([6.0, -5.0])
    found, inputs, _ = scene(awkward_grids[name], offset)
    (plane,) = draw_sensitivity(found, inputs, None)
    assert (plane.name, plane.sides) == ("Image", "")
    wanted = offset[1] / found.grid.extent[1], offset[0] / found.grid.extent[0]
    for title in (FIXED, MOVING):
        assert coloured_at(pixels(plane, title)) == pytest.approx(wanted, abs=0.03)


def test_both_maps_share_one_scale(awkward_grids):
    # Strongest where both images are brightest: there the stronger map is the palest.
    found, inputs, where = scene(awkward_grids["plain"], np.zeros(3), strength=0.3)
    for plane in draw_sensitivity(found, inputs, where):
        # The cross has an open middle.
        stronger, weaker = (pixels(plane, title) for title in (FIXED, MOVING))
        middle = tuple(n // 2 for n in stronger.shape[:2])
        assert stronger[middle].mean() > weaker[middle].mean() + 60


def test_the_region_is_outlined_and_the_voxel_marked(awkward_grids):
    found, inputs, where = scene(awkward_grids["plain"], np.zeros(3))
    axial = next(iter(draw_sensitivity(found, inputs, None)))
    rows, columns = np.nonzero(np.ptp(pixels(axial, "Fixed"), axis=2) > 0)
    pixel = max(found.grid.extent[:2]) / 340
    middle = (np.array(pixels(axial, "Fixed").shape[:2]) - 1) / 2
    radius = pixel * np.hypot(rows - middle[0], columns - middle[1])
    assert radius.mean() == pytest.approx(9, abs=0.6)
    crossed = next(iter(draw_sensitivity(found, inputs, where)))
    for title in ("Fixed", FIXED, "Moving", MOVING):
        changed = np.abs(pixels(crossed, title) - pixels(axial, title)).max(axis=2) > 0
        rows, columns = np.nonzero(changed)
        assert len(rows) > 20
        assert np.abs([rows.mean() - middle[0], columns.mean() - middle[1]]).max() < 1.5
        assert max(np.ptp(rows), np.ptp(columns)) < 32


def test_empty_maps_show_the_image(awkward_grids):
    found, inputs, _ = scene(awkward_grids["plain"], np.zeros(3))
    dark = found.fixed.with_data(torch.zeros_like(found.fixed.data))
    empty = DeformableExplanation(found.start, dark, dark, dark, None)
    planes = list(draw_sensitivity(empty, inputs, None))
    assert [plane.name for plane in planes] == ["Axial", "Coronal", "Sagittal"]
    for plane in planes:
        picture = pixels(plane, FIXED)
        assert float(np.ptp(picture, axis=2).max()) < 5
        assert float(picture.max()) > 60


@pytest.mark.parametrize("labels", [None, {"fixed": 0.42, "moving": None, "even": 0.13}])
@pytest.mark.parametrize("voxel", [None, [19, 20, 21]])
def test_page_stands_alone_and_is_safe(voxel, labels, awkward_grids, tmp_path):
    found, inputs, where = scene(awkward_grids["plain"], np.zeros(3))
    summary = {**SUMMARY, "voxel": voxel, "in_labels": labels}
    write_sensitivity(tmp_path, summary, found, inputs, None if voxel is None else where)
    text = (tmp_path / "explain.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["explain.html"]
    assert text.count("<img") == 12
    assert "<img onerror" not in text
    assert "look &lt;here&gt;" in text
    assert "b&amp;c.nii.gz" in text
    assert not re.search(r"https?://|<script|<link", text)
    for words in ("random signs", "62 % / 38 %", "1.25 mm", "0.0123", "3, 4, 5", "pan.stage1.safetensors"):
        assert words in text
    assert ("voxel 19, 20, 21" in text) == (voxel is not None)
    assert ("2.75 mm" in text) == (voxel is not None)
    assert ("all voxels" in text) == (voxel is None)
    assert ("42 %" in text) == (labels is not None)
    assert ("22 of them" in text) == (labels is None)
