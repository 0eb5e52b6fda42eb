"""The report: self-contained, the right way round, safe with any text, and fast."""

import base64
import io
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.png import coloured, grey, png
from regcore.report import write_report
from regcore.report_pictures import FOLDING, PlaneViews, draw

GRID = Grid.of((40, 48, 30), (1.0, 1.0, 2.0), (-20, -24, -30))
SUMMARY = {
    "version": "0.1.0",
    "model": "pan",
    "weights": {"net.stage1.safetensors": "0123456789abcdef"},
    "device": "cpu",
    "similarity": {"name": "ncc", "before": 0.612, "after": 0.934},
    "folding_percent": 0.00002,
    "sdlogj": 0.0813,
    "jacobian": {"min": 0.41, "max": 1.9},
    "round_trip_mm": {"mean": 0.011, "max": 0.2},
    "stages": [{"name": "affine", "seconds": 1.25}, {"name": "refinement", "seconds": 4.0}],
    "seconds": 5.25,
    "cpu_seconds": 9.0,
    "dsc": {"before": {"1": 0.4}, "after": {"1": 0.811, "7": None}, "mean_before": 0.4, "mean_after": 0.811},
    "hd95_mm": {"1": 2.24, "7": None},
    "assd_mm": {"1": 0.66, "7": None},
    "sre_mm": {"before": 9.21, "initial": 4.4, "after": 2.68, "reference": "alignment of the glands"},
    "spread_mm": 0.74,
    "tre_mm": {"before": {"mean": 5.1, "max": 9.0}, "after": {"mean": 0.87, "max": 2.2}},
    "settings": {"init": ["affine"], "refine": None, "smooth": True},
    "warnings": ["look <here>"],
    "fixed": {"file": "/patients/DOE^JANE/a<img onerror=alert(1)>.nii.gz", "size": [40, 48, 30], "spacing": [1, 1, 2]},
    "moving": {"file": "b&c.nii.gz", "size": [41, 48, 30], "spacing": [1.0, 1.0, 2.0]},
}


def _scene(grid: Grid, marker_mm: tuple[float, ...]) -> dict[str, object]:
    """An even block with one bright spot, nothing moved."""
    points = grid.points()
    block = ((points - torch.as_tensor(grid.centre)).abs() < 0.35 * torch.tensor(grid.extent)).all(-1)
    spot = (points - torch.tensor(marker_mm, dtype=points.dtype)).norm(dim=-1) < 4
    image = Image((50.0 * block + 200.0 * spot).float(), grid)
    flat = Image(torch.ones(grid.shape), grid)
    return {
        "fixed": image, "before": image, "warped": image, "determinant": flat,
        "field": DisplacementField.identity(grid),
    }  # fmt: skip


def _decoded(plane: PlaneViews, title: str) -> np.ndarray:
    view = next(view for view in plane.views if view.title == title)
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(view.uri.split(",")[1]))))


def _write(folder, scene, summary) -> str:
    write_report(folder, summary, *(scene[name] for name in ("fixed", "before", "warped", "determinant", "field")))
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1)])
def test_png_holds_the_pixels(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(png(picture)))), picture)


def test_colours_run_along_the_table():
    picture = coloured(np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]]), ("#000000", "#ff0000"))
    assert picture[0, :, 0].tolist() == pytest.approx([0, 0, 128, 255, 255], abs=1)
    assert picture[..., 1:].max() == 0
    assert grey(np.array([[0.5]])).item() == 128


@pytest.mark.parametrize("world", ["as it is", "turned"])
def test_pictures_are_the_radiological_way_round(world):
    # To the patient's right, anterior and superior; LPS, so right and anterior are negative.
    marker = (-11.0, -12.0, 14.0)
    scene = _scene(GRID, marker)
    scene["fixed"] = scene["fixed"].with_data(torch.where(scene["fixed"].data > 100, 250.0, scene["fixed"].data))
    if world == "turned":
        turn = Reorientation((2, 0, 1), (True, False, True))
        scene = {name: _turned(turn, part) for name, part in scene.items()}
    planes = {plane.name: plane for plane in _marker_planes(scene, marker)}
    assert {name: plane.sides for name, plane in planes.items()} == {
        "Axial": "RLAP", "Coronal": "RLSI", "Sagittal": "APSI"
    }  # fmt: skip
    for name, plane in planes.items():
        picture = _decoded(plane, "Fixed").astype(float)
        row, column = np.argwhere(picture > 200).mean(axis=0) / picture.shape
        assert row < 0.4, name
        assert column < 0.4, name


def _marker_planes(scene, marker):
    """Draw the planes through the marker: with the block gone, it is all the foreground there is."""
    lone = scene["fixed"].with_data(torch.where(scene["fixed"].data > 100, 250.0, 0.0))
    return draw(lone, scene["before"], scene["warped"], scene["determinant"], scene["field"])


def _turned(turn, part):
    if isinstance(part, DisplacementField):
        return DisplacementField(turn.data(part.data), turn.grid(part.grid))
    return turn.image(part)


def test_the_same_volume_stored_otherwise_gives_the_same_pictures():
    scene = _scene(GRID, (5.0, 3.0, -4.0))
    generator = torch.Generator().manual_seed(0)
    data = torch.rand((3, *GRID.shape), generator=generator)
    scene["field"] = DisplacementField(torch.nn.functional.avg_pool3d(data[None], 9, 1, 4)[0] * 8, GRID)
    turn = Reorientation((1, 2, 0), (False, True, True))
    plain = list(draw(*scene.values()))
    turned = list(draw(*(_turned(turn, part) for part in scene.values())))
    for one, other in zip(plain, turned, strict=True):
        for view in one.views:
            difference = _decoded(one, view.title).astype(int) - _decoded(other, view.title)
            assert np.abs(difference).max() <= 8, (one.name, view.title)


def test_height_and_width_have_the_true_ratio():
    for plane in draw(*_scene(GRID, (0, 0, 0)).values()):
        height, width = _decoded(plane, "Fixed").shape
        edges = {"Axial": (48, 40), "Coronal": (60, 40), "Sagittal": (60, 48)}[plane.name]
        assert height / width == pytest.approx(edges[0] / edges[1], rel=0.02)
        assert plane.bar_percent == pytest.approx(100 * plane.bar_mm / edges[1], abs=0.01)


def test_grid_lines_lie_where_the_moving_image_has_them():
    def columns(shift_mm):
        scene = _scene(GRID, (0, 0, 0))
        scene["field"].data[0] = shift_mm
        picture = _decoded(next(iter(draw(*scene.values()))), "Deformed grid").astype(int)
        ink = (picture[..., 1] - picture[..., 0]).mean(axis=0)
        return ink - ink.mean()

    still, moved = columns(0.0), columns(0.7)
    pixels_per_mm = len(still) / 40
    best = max(range(-12, 13), key=lambda n: float((np.roll(still, n) * moved).sum()))
    # x + u is 0.7 mm further on, so each line is met 0.7 mm earlier.
    assert best == pytest.approx(-0.7 * pixels_per_mm, abs=1)


def test_jacobian_colours_and_folding():
    scene = _scene(GRID, (0, 0, 0))
    values = torch.ones(GRID.shape)
    values[:, :, :10], values[:, :, 30:] = 0.5, 2.0
    values[:, 20:28, 18:22] = -0.1
    scene["determinant"] = Image(values, GRID)
    picture = _decoded(next(iter(draw(*scene.values()))), "Jacobian").astype(int)
    height, width = picture.shape[:2]
    assert picture[5, 5, 2] > picture[5, 5, 0] + 80
    assert picture[5, -5, 0] > picture[5, -5, 2] + 80
    assert picture[5, width // 2].min() > 240
    assert picture[height // 2, width // 2].tolist() == list(bytes.fromhex(FOLDING[1:]))


def test_difference_vanishes_where_the_images_agree():
    scene = _scene(GRID, (5.0, 3.0, -4.0))
    scene["before"] = Image(scene["fixed"].data.roll(6, 2), GRID)
    first = next(iter(draw(*scene.values())))
    assert _decoded(first, "Difference, before").max() > 100
    assert _decoded(first, "Difference, after").max() <= 4


def test_the_page_needs_nothing_else(tmp_path):
    page = _write(tmp_path, _scene(GRID, (0, 0, 0)), SUMMARY)
    assert page.count("data:image/png;base64,") == 24
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_figures_and_texts_are_shown_and_escaped(tmp_path):
    page = _write(tmp_path, _scene(GRID, (0, 0, 0)), SUMMARY)
    for text in (
        "0.400 → 0.811",
        "5.10 → 0.87",
        "0.612 → 0.934",
        "&lt; 0.001 %",
        "0.081",
        "5.2 s",
        "look &lt;here&gt;",
    ):
        assert text in page, text
    assert "b&amp;c.nii.gz" in page
    assert "alert(1)" in page
    assert "<img onerror" not in page
    assert "JANE" not in page, "folders may hold names of patients"
    assert page.index("research use only") > 0


def test_rigid_figures_and_weights_are_shown(tmp_path):
    page = _write(tmp_path, _scene(GRID, (0.0, 0.0, 0.0)), SUMMARY)
    for text in ("9.21 → 2.68", "against the alignment of the glands", "0.74", "net.stage1.safetensors (01234567)"):
        assert text in page


@pytest.mark.parametrize(
    "summary", [{}, {"dsc": None, "tre_mm": None, "round_trip_mm": None, "sdlogj": None, "fixed": {}}]
)
def test_what_is_missing_is_not_shown(tmp_path, summary):
    page = _write(tmp_path, _scene(GRID, (0, 0, 0)), summary)
    for word in (
        "Mean Dice",
        "Landmark error",
        "Round trip",
        "SDlogJ",
        "Structures",
        "Settings",
        "Stages",
        "None",
        "nan",
    ):
        assert word not in re.sub(r"data:image[^\"]*", "", page), word


def test_two_dimensions_and_flat_images(tmp_path):
    grid = Grid.of((60, 44), (0.5, 0.8))
    flat = Image(torch.zeros(grid.shape, dtype=torch.int16), grid)
    scene = {"fixed": flat, "before": flat, "warped": flat, "determinant": Image(torch.ones(grid.shape), grid)}
    page = _write(tmp_path, scene | {"field": DisplacementField.identity(grid)}, {})
    assert page.count("data:image/png;base64,") == 8


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"report\.html: cannot be written"):
        _write(tmp_path / "absent", _scene(GRID, (0, 0, 0)), {})


def test_a_large_volume_takes_little_time(tmp_path):
    grid = Grid.of((160, 192, 224))
    image = Image(torch.rand(grid.shape), grid)
    scene = {name: image for name in ("fixed", "before", "warped", "determinant")}
    scene["field"] = DisplacementField.identity(grid)
    start = time.process_time()
    _write(tmp_path, scene, SUMMARY)
    # Random voxels are the worst case for packing; the bound leaves room for a busy machine.
    assert time.process_time() - start < 4
