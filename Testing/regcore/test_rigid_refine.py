from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.data.phantoms import Phantom, make_phantom
from regcore.data.rigid_cases import read_case
from regcore.grid import Grid
from regcore.image import Image
from regcore.metrics.registration_error import sre, surface_points
from regcore.ops.smoothing import gaussian
from regcore.progress import Cancelled
from regcore.rigid_refine import RigidRefinement, keep_better, refine_rigid
from regcore.transform import AffineTransform, RigidTransform

from .pairs import blobs_at

CENTRE = np.array([-30.0, 12.0, 105.0])  # where the awkward grids of conftest lie
TRUTH = RigidTransform.from_euler((4, -6, 5), (1.5, -1.0, 2.0), CENTRE)
STILL = AffineTransform.identity(3)
PAIRS = [("rotated", "permuted"), ("flipped", "mirrored"), ("plain", "rotated")]


def seen_through(grid: Grid, transform: AffineTransform = STILL, seed: int = 3) -> np.ndarray:
    return blobs_at(transform(grid.points().numpy()) - CENTRE, seed, 17.0)


def as_image(values: np.ndarray, grid: Grid) -> Image:
    return Image(torch.from_numpy(values.astype(np.float32)), grid)


def pair(fixed: Grid, moving: Grid, truth: AffineTransform = TRUTH) -> tuple[Image, Image]:
    """Two contrasts of the blobs, ``truth`` from fixed to moving points, with some noise in the moving one."""
    noise = 0.01 * np.random.default_rng(0).normal(size=moving.shape)
    other = np.abs(seen_through(moving) - 0.35) ** 0.8 + noise
    return as_image(seen_through(fixed, truth), fixed), as_image(other, moving)


def ball(grid: Grid, radius: float = 13.0) -> Image:
    far = np.linalg.norm(grid.points().numpy() - CENTRE, axis=-1)
    return Image(torch.as_tensor(far < radius).to(torch.uint8), grid, "uint8")


def worst(found: AffineTransform, truth: AffineTransform, radius: float = 13.0) -> float:
    directions = np.random.default_rng(0).normal(size=(100, 3))
    points = CENTRE + radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return float(np.linalg.norm(found(points) - truth(points), axis=1).max())


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
@pytest.mark.parametrize("metric", ["mind", "mi"])
def test_a_known_motion_is_found_on_any_grids(awkward_grids, names, metric) -> None:
    fixed, moving = pair(*(awkward_grids[name] for name in names))
    got = refine_rigid(fixed, moving, STILL, metric=metric, region=ball(fixed.grid))
    assert worst(STILL, TRUTH) > 3.5
    assert got.kept
    assert got.reason == ""
    assert worst(got.transform, TRUTH) < 0.6
    assert got.metric_after > got.metric_before
    assert got.moved_mm == pytest.approx(np.mean([worst(STILL, TRUTH, r) for r in (8, 13)]), abs=1.2)


def test_it_undoes_what_simpleitk_did(awkward_grids, as_itk: Callable[[Image], sitk.Image]) -> None:
    fixed_grid, moving_grid = awkward_grids["rotated"], awkward_grids["flipped"]
    moving = as_image(seen_through(moving_grid), moving_grid)
    euler = sitk.Euler3DTransform(CENTRE.tolist(), *np.deg2rad((-5.0, 4.0, 6.0)), (1.0, 2.0, -1.5))
    reference = as_itk(as_image(seen_through(fixed_grid), fixed_grid))
    data = sitk.GetArrayFromImage(sitk.Resample(as_itk(moving), reference, euler, sitk.sitkLinear, 0.0))
    fixed = as_image(data, fixed_grid)
    found = refine_rigid(fixed, moving, STILL, region=ball(fixed_grid)).transform
    points = np.random.default_rng(1).uniform(-10, 10, (20, 3)) + CENTRE
    there = np.array([euler.TransformPoint(point.tolist()) for point in points])
    assert np.linalg.norm(there - points, axis=1).mean() > 2.0
    np.testing.assert_allclose(found(points), there, atol=0.25)


@pytest.mark.parametrize("metric", ["mind", "mi"])
def test_what_is_right_stays(awkward_grids, metric) -> None:
    fixed, moving = pair(awkward_grids["plain"], awkward_grids["flipped"])
    got = refine_rigid(fixed, moving, TRUTH, metric=metric, region=ball(fixed.grid))
    assert worst(got.transform, TRUTH) < 0.4
    assert got.moved_mm < 0.3


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom("prostate", 0)


@pytest.mark.parametrize("metric", ["mind", "mi"])
def test_the_prostate_phantom_gets_better_from_a_start_as_networks_leave_it(phantom, metric) -> None:
    labels = phantom.fixed_labels
    gland = labels.with_data(((labels.data >= 1) & (labels.data <= 4)).to(torch.uint8), "uint8")
    surface = surface_points(gland)
    centre = surface.mean(axis=0)
    start = RigidTransform.from_euler((4, -3, 4), (2.0, -2.0, 1.5), centre).compose(phantom.truth)
    got = refine_rigid(phantom.fixed, phantom.moving, start, metric=metric, region=gland)
    got = keep_better(start, got, spread_mm=2.0)
    assert sre(surface, start, phantom.truth) > 3.0
    assert got.kept
    assert sre(surface, got.transform, phantom.truth) < 1.0


@pytest.mark.parametrize("metric", ["mind", "mi"])
def test_volumes_with_nothing_in_common_keep_the_start(awkward_grids, metric) -> None:
    grid = awkward_grids["plain"]
    generator = torch.Generator().manual_seed(5)
    fixed, moving = (
        Image(gaussian(torch.rand(1, 1, *grid.shape, generator=generator), 2.0)[0, 0], grid) for _ in range(2)
    )
    start = RigidTransform.from_euler((1, 2, -3), (1.0, 0.0, 0.5), CENTRE)
    got = refine_rigid(fixed, moving, start, metric=metric, region=ball(grid), reach_mm=20.0)
    assert not got.kept
    assert "no distinct place" in got.reason
    assert worst(got.found, start) > 1.0
    np.testing.assert_allclose(got.transform.homogeneous, start.homogeneous, atol=1e-9)


def test_without_any_better_place_the_start_is_kept_and_it_is_said(awkward_grids) -> None:
    fixed, moving = pair(awkward_grids["plain"], awkward_grids["flipped"])
    got = refine_rigid(fixed, moving, TRUTH, region=ball(fixed.grid), reach_mm=1e-6)
    assert (got.kept, got.moved_mm) == (False, pytest.approx(0.0, abs=1e-5))
    assert "no place near the start" in got.reason


@pytest.mark.data
def test_on_mri_and_ultrasound_the_error_does_not_rise(data_folder) -> None:
    for name in ("case03", "case07", "case12"):
        case = read_case(data_folder / "prostate", name)
        start = RigidTransform.from_euler((5, -4, 3), (2.0, 1.0, -2.0), case.surface.mean(axis=0))
        start = start.compose(case.reference)
        got = keep_better(start, refine_rigid(case.fixed, case.moving, start, region=case.gland), 2.0)
        assert sre(case.surface, start, case.reference) > 2.5
        assert sre(case.surface, got.transform, case.reference) < 1.02 * sre(case.surface, start, case.reference)


def refinement(moved_mm: float, kept: bool = True) -> RigidRefinement:
    found = RigidTransform.from_euler((0, 0, 0), (moved_mm, 0.0, 0.0))
    still = RigidTransform.from_euler((0, 0, 0), (0.0, 0.0, 0.0))
    return RigidRefinement(found if kept else still, found, -0.2, -0.1, 0.5, moved_mm, kept, "" if kept else "No.")


@pytest.mark.parametrize(
    ("moved_mm", "spread_mm", "kept"),
    [(1.9, None, True), (2.1, None, False), (1.9, 0.0, True), (2.1, 0.9, False), (4.9, 2.5, True), (5.1, 2.5, False)],
)
def test_the_confidence_decides_how_far_a_refinement_may_go(moved_mm, spread_mm, kept) -> None:
    network = RigidTransform.from_euler((0, 0, 0), (0.0, 0.0, 0.0))
    got = keep_better(network, refinement(moved_mm), spread_mm)
    assert got.kept is kept
    assert got.transform(np.zeros(3))[0] == pytest.approx(moved_mm if kept else 0.0)
    assert got.found(np.zeros(3))[0] == pytest.approx(moved_mm)
    assert ("more than the" in got.reason) is not kept


def test_what_the_metric_refused_the_confidence_does_not_bring_back() -> None:
    refused = refinement(0.5, kept=False)
    assert keep_better(refused.transform, refused, 10.0) is refused


def test_only_the_region_counts(awkward_grids) -> None:
    grid = awkward_grids["plain"]
    other = RigidTransform.from_euler((0, 0, -8), (-3.0, 2.0, -2.0), CENTRE)
    left = torch.as_tensor(grid.points().numpy()[..., 0] < CENTRE[0] + 4)
    fixed, moving = pair(grid, awkward_grids["flipped"])
    far = fixed.with_data((grid.points()[..., 0] < CENTRE[0] - 2).to(torch.uint8), "uint8")
    mixed = fixed.with_data(torch.where(left, fixed.data, pair(grid, grid, other)[0].data))
    got = refine_rigid(mixed, moving, STILL, region=far, margin_mm=0.0)
    points = CENTRE + np.random.default_rng(0).uniform(-10, 0, (50, 3))
    off = [np.linalg.norm(got.transform(points) - each(points), axis=1) for each in (TRUTH, other)]
    assert off[0].max() < 1.2
    assert off[1].min() > 3.0


def test_centre_says_where_it_turns_and_changes_little_else(awkward_grids) -> None:
    fixed, moving = pair(awkward_grids["plain"], awkward_grids["flipped"])
    usual = refine_rigid(fixed, moving, STILL, region=ball(fixed.grid))
    np.testing.assert_allclose(usual.transform.centre, CENTRE, atol=0.6)
    beside = (-20.0, 7.0, 113.0)
    elsewhere = refine_rigid(fixed, moving, STILL, region=ball(fixed.grid), centre=beside)
    np.testing.assert_allclose(elsewhere.transform.centre, beside)
    assert worst(elsewhere.transform, usual.transform) < 0.1


def test_a_start_that_stretches_becomes_rigid_about_its_centre(awkward_grids) -> None:
    fixed, moving = pair(awkward_grids["plain"], awkward_grids["flipped"])
    start = AffineTransform.of(TRUTH.matrix @ np.diag([1.1, 0.9, 1.0]), TRUTH.translation, CENTRE)
    got = refine_rigid(fixed, moving, start, region=ball(fixed.grid))
    assert worst(got.transform, TRUTH) < 0.5


def test_what_lies_beyond_the_reach_is_neither_gone_to_nor_kept(awkward_grids) -> None:
    fixed, moving = pair(awkward_grids["plain"], awkward_grids["flipped"])
    got = refine_rigid(fixed, moving, STILL, region=ball(fixed.grid), reach_mm=1.0)
    assert 0.9 < got.moved_mm <= 1.0
    assert "as far as it was allowed to, 1 mm" in got.reason
    assert worst(got.transform, STILL) < 1e-9


def test_same_input_same_result_and_progress_rises(awkward_grids) -> None:
    fixed, moving = pair(awkward_grids["flipped"], awkward_grids["plain"])
    fractions: list[float] = []
    first = refine_rigid(fixed, moving, STILL, progress=lambda fraction, _: fractions.append(fraction))
    second = refine_rigid(fixed, moving, STILL, device=torch.device("cpu"))
    np.testing.assert_array_equal(first.transform.homogeneous, second.transform.homogeneous)
    assert fractions == sorted(fractions)
    assert len(fractions) >= 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", ["mind", "mi"])
def test_a_gpu_finds_the_same(awkward_grids, metric) -> None:
    fixed, moving = pair(awkward_grids["rotated"], awkward_grids["permuted"])
    results = [
        refine_rigid(fixed, moving, STILL, metric=metric, region=ball(fixed.grid), device=device)
        for device in ("cpu", "cuda")
    ]
    assert worst(results[0].transform, results[1].transform) < 0.05


def test_cancel_stops_at_once_and_in_between(awkward_grids) -> None:
    fixed, moving = pair(awkward_grids["plain"], awkward_grids["flipped"])
    with pytest.raises(Cancelled):
        refine_rigid(fixed, moving, STILL, cancelled=lambda: True)
    asked = itertools.count()
    with pytest.raises(Cancelled):
        refine_rigid(fixed, moving, STILL, region=ball(fixed.grid), cancelled=lambda: next(asked) >= 6)
    assert next(asked) == 7


def test_bad_input_is_named(awkward_grids) -> None:
    fixed, moving = pair(awkward_grids["plain"], awkward_grids["flipped"])
    region, away = ball(fixed.grid), Grid.of((5, 5, 5), None, (500, 0, 0))
    with pytest.raises(ValueError, match=r"region: no voxel is above 0"):
        refine_rigid(fixed, moving, STILL, region=region.with_data(torch.zeros_like(region.data)))
    with pytest.raises(ValueError, match=r"region: it lies outside the fixed image"):
        refine_rigid(fixed, moving, STILL, region=Image(torch.ones(5, 5, 5, dtype=torch.uint8), away, "uint8"))
    with pytest.raises(ValueError, match=r"start: it sends only 0 % of the region into the moving image"):
        refine_rigid(fixed, moving, RigidTransform.from_euler((0, 0, 0), (90.0, 0, 0)), region=region)
    with pytest.raises(ValueError, match=r"moving: expected finite voxels"):
        refine_rigid(fixed, moving.with_data(torch.full_like(moving.data, float("nan"))), STILL)
    with pytest.raises(ValueError, match=r"fixed: every voxel has the same value"):
        refine_rigid(fixed.with_data(torch.ones_like(fixed.data)), moving, STILL)
    flat = Image(torch.rand(38, 44), awkward_grids["plane"])
    with pytest.raises(ValueError, match=r"fixed: expected 3 dimensions, got 2"):
        refine_rigid(flat, flat, AffineTransform.identity(2))
    with pytest.raises(ValueError, match=r"reach_mm: expected more than 0 mm, got 0"):
        refine_rigid(fixed, moving, STILL, reach_mm=0)
    with pytest.raises(ValueError, match=r"margin_mm: expected 0 mm or more, got -1"):
        refine_rigid(fixed, moving, STILL, margin_mm=-1)
    with pytest.raises(ValueError, match=r"spread_mm: expected 0 mm or more, got nan"):
        keep_better(TRUTH, refinement(1.0), float("nan"))
