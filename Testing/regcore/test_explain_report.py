"""The pictures of an explanation: the right way round, in the right place, and a page that stands alone."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from regcore.crop import gland_crop
from regcore.explain_report import draw_attention, draw_maps, write_explanation
from regcore.explanation import Explanation
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.preprocess import Inputs
from regcore.report_pictures import PlaneViews
from regcore.transform import RigidTransform

CENTRE = np.array([-30.0, 12.0, 105.0])  # where the awkward grids have theirs (mm)
SHIFT = RigidTransform(np.eye(3), np.array([2.0, 1.0, -3.0]), CENTRE)
SUMMARY = {
    "version": "0.1.0",
    "model": "attention-reg",
    "network": "attention-reg-small",
    "weights": {"attention-reg-small.stage1.safetensors": "abc"},
    "fixed_input": "label",
    "stage": 1,
    "stages": 2,
    "mode": "weights",
    "target": "tx",
    "target_note": "our choice",
    "start": "organ",
    "numbers": {"tx": 1.25, "ty": 0.0, "tz": 0.0, "ax": -3.5, "ay": 0.0, "az": 0.0},
    "in_gland": {"fixed": 0.42, "moving": None, "even": 0.13},
    "voxel": None,
    "gland_labels": [1, 2],
    "warnings": ["look <here>"],
    "fixed": {"file": "a<img onerror=alert(1)>.nii.gz", "size": [40, 48, 30], "spacing": [1, 1, 2]},
    "moving": {"file": "b&c.nii.gz", "size": [41, 48, 30], "spacing": [1.0, 1.0, 2.0]},
}


def spot(grid: Grid, where: Matrix, sigma: float = 1.5) -> Image:
    squared = (grid.points() - torch.as_tensor(where)).square().sum(-1)
    return Image(torch.exp(-squared / (2 * sigma**2)).float(), grid)


def scene(grid: Grid, where: Matrix) -> tuple[Explanation, Inputs]:
    """A bright spot in both images and in every map at ``where``; the moving one through `SHIFT`."""
    inside = (grid.points() - torch.as_tensor(CENTRE)).norm(dim=-1) <= 9
    gland = Image(inside.to(torch.uint8), grid, "uint8")
    crop = gland_crop(gland, (24, 32, 32))
    maps = [spot(crop, where) for _ in range(4)]
    numbers = {name: 0.0 for name in SUMMARY["numbers"]}
    found = Explanation(SHIFT, *maps, numbers, Image(torch.ones(crop.shape), crop))
    return found, Inputs(spot(grid, where), spot(grid, SHIFT(where)), fixed_gland=gland)


def pixels(plane: PlaneViews, title: str) -> np.ndarray:
    view = next(view for view in plane.views if view.title == title)
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(view.uri.split(",")[1])))).astype(float)


def coloured_at(picture: np.ndarray) -> tuple[float, float]:
    """Row and column of the middle of what is not grey, as shares of the picture, 0 at the middle."""
    weight = np.ptp(picture, axis=2)
    weight = np.where(weight > 0.3 * weight.max(), weight, 0)
    rows, columns = (np.arange(n) + 0.5 for n in weight.shape)
    row, column = (weight * rows[:, None]).sum() / weight.sum(), (weight * columns).sum() / weight.sum()
    return row / weight.shape[0] - 0.5, column / weight.shape[1] - 0.5


@pytest.mark.parametrize("name", ["flipped", "permuted", "mirrored"])
def test_what_lies_left_anterior_and_superior_is_drawn_there(name, awkward_grids):
    grid = awkward_grids[name]
    # Along the crop's own axes: they lie within 45 degrees of the patient's.
    crop = scene(grid, CENTRE)[0].crop
    offset = np.array([4.0, -5.0, 3.0])  # to the left, to anterior, to superior
    where = crop.centre + crop.axes @ offset
    found, inputs = scene(grid, where)
    sides = np.asarray(crop.extent)
    wanted = {
        "Axial": (offset[1] / sides[1], offset[0] / sides[0]),
        "Coronal": (-offset[2] / sides[2], offset[0] / sides[0]),
        "Sagittal": (-offset[2] / sides[2], offset[1] / sides[1]),
    }
    letters = {"Axial": "RLAP", "Coronal": "RLSI", "Sagittal": "APSI"}
    headings = {
        "Axial, 3 mm superior to the gland's middle",
        "Coronal, 5 mm anterior to the gland's middle",
        "Sagittal, 4 mm left of the gland's middle",
    }
    planes = list(draw_attention(found, inputs, where))
    assert {plane.name for plane in planes} == headings
    for plane in planes:
        name = plane.name.split(",")[0]
        assert plane.sides == letters[name]
        for title in ("Moving, attention", "Fixed, attention"):
            assert coloured_at(pixels(plane, title)) == pytest.approx(wanted[name], abs=0.02)
    # Planes of whole voxels of the crop next to the spot.
    for plane in draw_maps(found, inputs):
        name = plane.name.split(",")[0]
        height, width = pixels(plane, "Fixed").shape[:2]
        assert max(height, width) == 340
        assert plane.bar_percent == pytest.approx(100 * 10 / sides[int(name == "Sagittal")], rel=0.01)
        for title in ("Fixed, Grad-CAM", "Moving, Grad-CAM"):
            assert coloured_at(pixels(plane, title)) == pytest.approx(wanted[name], abs=0.02)


def test_moving_is_drawn_through_the_transform(awkward_grids):
    found, inputs = scene(awkward_grids["plain"], CENTRE)
    for plane in draw_attention(found, inputs, CENTRE):
        np.testing.assert_allclose(pixels(plane, "Fixed"), pixels(plane, "Moving"), atol=40)
        assert coloured_at(pixels(plane, "Moving, attention")) == pytest.approx((0, 0), abs=0.02)


def test_maps_leave_the_image_where_they_are_0(awkward_grids):
    found, inputs = scene(awkward_grids["plain"], CENTRE)
    dark = found.fixed.with_data(torch.zeros_like(found.fixed.data))
    empty = Explanation(SHIFT, dark, dark, None, None, found.numbers, found.gland)
    for plane in draw_maps(empty, inputs):
        picture = pixels(plane, "Fixed, Grad-CAM")
        assert float(np.ptp(picture, axis=2).max()) == 0  # grey
    for plane in draw_maps(found, inputs):
        assert float(np.ptp(pixels(plane, "Fixed, Grad-CAM"), axis=2).max()) > 60


def test_gland_is_outlined_where_it_ends(awkward_grids):
    found, inputs = scene(awkward_grids["plain"], CENTRE)
    axial = next(iter(draw_maps(found, inputs)))
    picture = pixels(axial, "Fixed")
    rows, columns = np.nonzero(np.ptp(picture, axis=2) > 0)
    pixel = max(found.crop.extent[:2]) / 340
    middle = (np.array(picture.shape[:2]) - 1) / 2
    radius = pixel * np.hypot(rows - middle[0], columns - middle[1])
    assert np.abs(radius - 9).max() < 1.2  # of a ball of 1 mm voxels
    assert radius.mean() == pytest.approx(9, abs=0.5)


@pytest.mark.parametrize("voxel", [None, [19, 20, 21]])
def test_page_stands_alone_and_is_safe(voxel, awkward_grids, tmp_path):
    write_explanation(tmp_path, {**SUMMARY, "voxel": voxel}, *scene(awkward_grids["plain"], CENTRE))
    text = (tmp_path / "explain.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["explain.html"]
    assert text.count("<img") == (12 if voxel is None else 24)
    assert "<img onerror" not in text
    assert "look &lt;here&gt;" in text
    assert "b&amp;c.nii.gz" in text
    assert not re.search(r"https?://|<script|<link", text)
    for words in ("our choice", "42 %", "13 %", "1.25 mm", "-3.50 °", "attention-reg-small", "the gland's mask"):
        assert words in text.replace("&#39;", "'")
    assert ("Attention at voxel 19, 20, 21" in text) == (voxel is not None)
