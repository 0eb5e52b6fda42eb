"""Landmarks of held-out pairs: the error that training reports is that of the metrics and of SimpleITK, in mm."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from regcore.data.batch import PairBatch
from regcore.data.image_source import ImageOptions, ImageSource
from regcore.data.prepared import TrainingGrid
from regcore.field import from_voxels
from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.io import write_image, write_transform
from regcore.landmarks import Landmarks, write_landmarks
from regcore.metrics.landmarks import tre
from regcore.models.base import Prediction
from regcore.training.command import main
from regcore.training.config import LossTerm
from regcore.training.deformable_goal import DeformableGoal
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, RigidTransform

CPU = torch.device("cpu")
SPACING = 1.7  # mm, of the training grid
PAIRS = [("rotated", "permuted"), ("flipped", "mirrored"), ("plain", "rotated"), ("plane_rotated", "plane")]


def start_of(kind: str, grid: Grid):
    """Return what the table says of the start, and the transform."""
    centre, flat = grid.centre, grid.dim == 2
    known = {
        "": None,
        "identity": AffineTransform.identity(grid.dim),
        "rigid.tfm": RigidTransform.from_euler([9] if flat else [9, -14, 5], [1.5, -2.0, 0.7][: grid.dim], centre),
        "affine.tfm": AffineTransform.of(np.eye(grid.dim) * 1.1, [1.0, 2.0, -1.0][: grid.dim], centre),
    }
    return known[kind]


def noise(grid: Grid, path) -> None:
    write_image(Image(torch.rand(grid.shape, generator=torch.Generator().manual_seed(0)), grid), path)


def table(folder, text: str) -> str:
    (folder / "cohort.csv").write_text(text)
    return str(folder / "cohort.csv")


def pair_source(folder, grids, points, start="identity", dimensions=3) -> ImageSource:
    for side, grid, there in zip(("fixed", "moving"), grids, points, strict=True):
        noise(grid, folder / f"{side}.nii.gz")
        write_landmarks(Landmarks.of(there), folder / f"{side}.csv")
    text = "id,fixed,moving,fixed_landmarks,moving_landmarks,initial_transform,split\n"
    rows = [f"{n},fixed.nii.gz,moving.nii.gz,fixed.csv,moving.csv,{start},{n}" for n in ("train", "validation")]
    manifest = table(folder, text + "\n".join(rows))
    return ImageSource(ImageOptions(manifest, "given", size=(20, 22, 24)[-dimensions:], spacing_mm=SPACING), 0)


def training_grid(of: Grid, size) -> Grid:
    upright = Reorientation.to_canonical(of).grid(of)
    return TrainingGrid(tuple(size), SPACING).about(upright, upright.centre)[0]


def judged(source, displacement: torch.Tensor) -> dict[str, float]:
    """Return the figures of a network that finds ``displacement`` whatever it sees."""
    goal = DeformableGoal(source, [LossTerm("mse")], CPU)

    def found(fixed, moving):
        return Prediction(displacement.expand(len(fixed), -1, *fixed.shape[2:]), {})

    return goal.judge(found, CPU)


def points_within(grid: Grid, count: int = 9, seed: int = 0) -> np.ndarray:
    index = np.random.default_rng(seed).uniform(2, np.asarray(grid.size) - 3, (count, grid.dim))
    return grid.to_world(index)


@pytest.mark.parametrize("start", ["identity", "rigid.tfm"])
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_the_error_is_that_of_the_metrics_and_of_simpleitk(tmp_path, awkward_grids, smooth_field, as_itk, names, start):
    grids = [awkward_grids[name] for name in names]
    dim = grids[0].dim
    training = training_grid(grids[0], (20, 22, 24)[-dim:])
    initial = start_of(start, grids[0])
    write_transform(initial, tmp_path / "rigid.tfm")
    field = smooth_field(training, 4.0)
    fixed = points_within(training)
    moving = initial(fixed) + np.random.default_rng(1).normal(0, 3, fixed.shape)
    found = judged(pair_source(tmp_path, grids, (fixed, moving), start, dim), training_voxels(field))
    whole = CompositeTransform((DenseTransform(field), initial))
    assert found["tre_start_mm"] == pytest.approx(tre(fixed, moving, initial).mean(), rel=1e-4)
    assert found["tre_mm"] == pytest.approx(tre(fixed, moving, whole).mean(), rel=1e-4)
    outer = sitk.AffineTransform(dim)
    outer.SetMatrix(initial.homogeneous[:-1, :-1].ravel().tolist())
    outer.SetTranslation(initial.homogeneous[:-1, -1].tolist())
    inner = sitk.DisplacementFieldTransform(sitk.Cast(as_itk(field), sitk.sitkVectorFloat64))
    landed = [outer.TransformPoint(inner.TransformPoint(point)) for point in fixed.tolist()]
    assert found["tre_mm"] == pytest.approx(np.linalg.norm(landed - moving, axis=1).mean(), rel=1e-4)
    assert found["score"] == -found["tre_mm"]
    assert found["tre_mm"] != pytest.approx(found["tre_start_mm"], rel=1e-2)


def training_voxels(field) -> torch.Tensor:
    """Return the displacement in voxels, array order: mm along the grid's own axes, divided by its edge."""
    along = torch.einsum("ab,a...->b...", torch.as_tensor(field.grid.axes).float(), field.data)
    return (along.flip(0) / SPACING)[None]


def test_the_conversion_of_this_file_is_that_of_the_package(awkward_grids, smooth_field):
    field = smooth_field(training_grid(awkward_grids["rotated"], (10, 12, 14)), 3.0)
    assert torch.allclose(from_voxels(training_voxels(field), field.grid).data, field.data, atol=1e-5)


@pytest.mark.parametrize("start", ["identity", "rigid.tfm", "affine.tfm", "dense.h5"])
def test_the_right_displacement_leaves_no_error_whatever_the_start(tmp_path, awkward_grids, smooth_field, start):
    """Moving points are those that the start leads to from a known place: 2.5 mm from the fixed ones."""
    grids = [awkward_grids[name] for name in ("rotated", "flipped")]
    training = training_grid(grids[0], (20, 22, 24))
    initial = DenseTransform(smooth_field(grids[1], 2.0)) if start == "dense.h5" else start_of(start, grids[0])
    if start != "identity":
        write_transform(initial, tmp_path / start)
    fixed = points_within(training)
    step = np.array([2.0, -1.5, 0.0])
    moving = initial(fixed + step)
    source = pair_source(tmp_path, grids, (fixed, moving), start)
    there = torch.as_tensor((training.axes.T @ step)[::-1].copy()).float() / SPACING
    found = judged(source, there.reshape(1, 3, 1, 1, 1))
    assert found["tre_start_mm"] == pytest.approx(2.5, abs=0.05 if start == "dense.h5" else 1e-4)
    assert found["tre_mm"] < (0.1 if start == "dense.h5" else 1e-4)


def test_without_a_start_the_middles_are_brought_together(tmp_path, awkward_grids):
    grids = [awkward_grids[name] for name in ("mirrored", "plain")]
    fixed = points_within(training_grid(grids[0], (20, 22, 24)))
    moving = fixed + grids[1].centre - grids[0].centre
    found = judged(pair_source(tmp_path, grids, (fixed, moving), ""), torch.zeros(1, 3, 1, 1, 1))
    assert found["tre_mm"] == found["tre_start_mm"] < 1e-4


def image_source(folder, grids, points, size=(20, 22, 24), **options) -> ImageSource:
    rows = ["id,image,landmarks,split"]
    for number, (grid, there) in enumerate(zip(grids, points, strict=True)):
        noise(grid, folder / f"{number}.nii.gz")
        if there is not None:
            write_landmarks(Landmarks.of(there), folder / f"{number}.csv")
        split = "validation" if number > 1 else "train"
        rows.append(f"{number},{number}.nii.gz,{'' if there is None else f'{number}.csv'},{split}")
    return ImageSource(ImageOptions(table(folder, "\n".join(rows)), size=size, spacing_mm=SPACING, **options), 0)


def test_images_of_a_table_are_compared_each_on_its_own_grid(tmp_path, awkward_grids):
    names = ("plain", "plain", "rotated", "flipped")
    grids = [awkward_grids[name] for name in names]
    points = [points_within(training_grid(grid, (20, 22, 24)), seed=n) for n, grid in enumerate(grids)]
    source = image_source(tmp_path, grids, points)
    shift = torch.tensor([1.0, -2.0, 0.5]).reshape(1, 3, 1, 1, 1)
    found = judged(source, shift)
    # About the middle, along the axes that lie closest to the world's: what the training grid is laid along.
    upright = [Reorientation.to_canonical(grid).grid(grid) for grid in grids[2:]]
    own = [(there - grid.centre) @ grid.axes for there, grid in zip(points[2:], upright, strict=True)]
    step = shift.flatten().flip(0).numpy() * SPACING
    ways = [(own[0], own[1]), (own[1], own[0])]
    assert found["tre_start_mm"] == pytest.approx(np.mean([np.linalg.norm(b - a, axis=1) for a, b in ways]), rel=1e-4)
    assert found["tre_mm"] == pytest.approx(np.mean([np.linalg.norm(b - a - step, axis=1) for a, b in ways]), rel=1e-4)
    assert source.draw([0, 1], CPU).fixed_points is None


def test_of_stacks_the_landmarks_in_the_compared_slices_count(tmp_path):
    grid = Grid.of((30, 28, 4), (SPACING, SPACING, 8.0), (5, 6, 7), np.diag([-1, 1, 1]))
    upright = Reorientation.to_canonical(grid).grid(grid)
    fixed = upright.to_world([[10, 12, 0.2], [14, 11, 2.4], [9, 20, 2.0], [12, 12, 3.0]])
    moving = upright.to_world([[13, 16, 0.0], [14, 11, 2.0], [9, 20, 0.9], [12, 13, 3.4]])
    source = image_source(tmp_path, [grid] * 4, [None, None, fixed, moving], size=(28, 30), slices=(0.0, 0.75))
    batches = list(source.validation(CPU))
    # Slices 0, 1 and 2 are looked at; the third landmark has its ends in two slices, the last is in none of these.
    for batch, order in zip(sorted(batches, key=lambda b: float(b.fixed_points[0, 0, 0])), (1, -1), strict=True):
        assert batch.fixed_points.shape == batch.moving_points.shape == (3, 4, 2)
        assert batch.fixed_points[:, :, 0].isfinite().tolist() == [
            [True, False, False, False],
            [False] * 4,
            [False, True, False, False],
        ]
        ends = (batch.fixed_points[0, 0], batch.moving_points[0, 0])[::order]
        assert torch.allclose(torch.stack(ends), torch.tensor([[12.0, 10.0], [16.0, 13.0]]), atol=1e-4)
    found = judged(source, torch.zeros(1, 2, 1, 1))
    assert found["tre_mm"] == pytest.approx(SPACING * 5 / 2, rel=1e-4)


class _One:
    """A source of one held-out pair."""

    dimensions, size, spacing_mm, labels = 2, (6, 8), 2.0, (1,)

    def __init__(self, **known) -> None:
        image = torch.rand(1, 1, 6, 8)
        self.batch = PairBatch(image, image.clone(), **known)

    def validation(self, device):
        yield self.batch


def test_landmarks_outside_the_grid_or_missing_are_left_out():
    here = torch.tensor([[[2.0, 3.0], [-0.6, 3.0], [2.0, 7.6], [torch.nan, 1.0], [5.4, 7.4]]])
    there = here + torch.tensor([3.0, 4.0])
    found = judged(_One(fixed_points=here, moving_points=there), torch.zeros(1, 2, 1, 1))
    assert found["tre_mm"] == pytest.approx(10.0)
    there[0, 4, 0] = torch.nan
    there[0, 0] = here[0, 0]
    assert judged(_One(fixed_points=here, moving_points=there), torch.zeros(1, 2, 1, 1))["tre_mm"] == 0
    none = judged(_One(fixed_points=here - 20, moving_points=there), torch.zeros(1, 2, 1, 1))
    assert "tre_mm" not in none
    assert none["score"] == -none["loss"]


def test_labels_come_before_landmarks_and_these_before_a_known_displacement():
    points = torch.tensor([[[2.0, 3.0]]])
    known = {"displacement": torch.ones(1, 2, 6, 8)}
    assert judged(_One(**known), torch.zeros(1, 2, 1, 1))["score"] == pytest.approx(-(2**0.5))
    known |= {"fixed_points": points, "moving_points": points + torch.tensor([3.0, 4.0])}
    assert judged(_One(**known), torch.zeros(1, 2, 1, 1))["score"] == pytest.approx(-10.0)
    labels = torch.zeros(1, 6, 8, dtype=torch.int64)
    labels[0, :3] = 1
    known |= {"fixed_labels": labels, "moving_labels": labels}
    assert judged(_One(**known), torch.zeros(1, 2, 1, 1))["score"] == 1.0


def test_pairs_of_a_table_with_other_landmarks_are_refused(tmp_path):
    grid = Grid.of((12, 12, 12))
    points = points_within(grid, 4)
    with pytest.raises(
        ValueError, match=r"row 2: expected as many moving as fixed landmarks, got 4 fixed and 3 moving"
    ):
        pair_source(tmp_path, [grid] * 2, (points, points[:3]))
    text = "id,fixed,moving,moving_landmarks\n1,fixed.nii.gz,moving.nii.gz,moving.csv\n"
    options = ImageOptions(table(tmp_path, text), "given", size=(8, 8, 8))
    with pytest.raises(ValueError, match="row 2: landmarks of the moving image alone; give both or neither"):
        ImageSource(options, 0)
    with pytest.raises(ValueError, match=r"rows (4 and 5|5 and 4) are a held-out pair with \d and \d landmarks"):
        image_source(tmp_path, [grid] * 4, [points[:2], points[:1], points, points[:3]])
    # Subjects that are learned from are never compared by landmarks.
    image_source(tmp_path, [grid] * 4, [points[:2], points[:1], points, points])


CONFIG = """
model: {{name: pan, options: {{channels: 1}}}}
data:
  kind: images
  images: {{manifest: {manifest}, pairs: given, size: [16, 16, 16], spacing_mm: 1.0}}
loss: [{{name: mse}}]
run: {{steps: 1, validate_every: 1, log_every: 1, device: cpu, threads: 1}}
"""


def test_log_and_tensorboard_show_the_error(tmp_path):
    grid = Grid.of((16, 16, 16))
    points = points_within(grid, 4)
    pair_source(tmp_path, [grid] * 2, (points, points + 1))
    (tmp_path / "config.yaml").write_text(CONFIG.format(manifest=tmp_path / "cohort.csv"))
    assert main([str(tmp_path / "config.yaml"), "-o", str(tmp_path / "run"), "-q"]) == 0
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        logged = list(csv.DictReader(file))[-1]
    assert float(logged["held_out/tre_start_mm"]) == pytest.approx(3**0.5, rel=1e-3)
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"held_out/tre_start_mm", "held_out/tre_mm", "held_out/score"} <= set(board.Tags()["scalars"])
    assert board.Tags()["images"]
