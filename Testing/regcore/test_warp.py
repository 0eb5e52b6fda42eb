"""Warping against SimpleITK's resampling, fixed and moving image on different awkward grids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import transform_to_sitk
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, RigidTransform, Transform
from regcore.warp import resample, warp

INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "label": sitk.sitkLabelLinear}


def _affine(fixed: Grid, smooth_field: Callable[..., DisplacementField]) -> Transform:
    matrix = np.eye(fixed.dim) + np.random.default_rng(3).normal(0, 0.08, (fixed.dim, fixed.dim))
    return AffineTransform.of(matrix, np.arange(1, fixed.dim + 1), fixed.centre)


def _rigid(fixed: Grid, smooth_field: Callable[..., DisplacementField]) -> Transform:
    angles = [12.0] if fixed.dim == 2 else [8.0, -12.0, 17.0]
    return RigidTransform.from_euler(angles, [2.0, -3.0, 1.0][: fixed.dim], fixed.centre)


def _dense(fixed: Grid, smooth_field: Callable[..., DisplacementField]) -> Transform:
    return DenseTransform(smooth_field(fixed, 6.0, 4))


def _composite(fixed: Grid, smooth_field: Callable[..., DisplacementField]) -> Transform:
    return CompositeTransform((_dense(fixed, smooth_field), _affine(fixed, smooth_field)))


@pytest.fixture(params=[_affine, _rigid, _dense, _composite], ids=lambda make: make.__name__.strip("_"))
def make_transform(request: pytest.FixtureRequest) -> Callable[..., Transform]:
    return request.param


@pytest.fixture(scope="module")
def texture(smooth_field) -> Callable[[Grid], Image]:
    """Smooth structure of about 0 to 1000, the same in space on no two grids."""
    return lambda grid: Image(500 + 100 * smooth_field(grid, 5.0, 9).data[0], grid)


@pytest.fixture(scope="module")
def segments(smooth_field) -> Callable[[Grid], Image]:
    """Label map of four large regions with gaps in their numbering."""

    def make(grid: Grid) -> Image:
        field = smooth_field(grid, 5.0, 11).data
        labels = torch.tensor([0, 3, 47, 512])[(field[0] > 0).long() + 2 * (field[1] > 0).long()]
        return Image(labels, grid, "uint16")

    return make


def _resampled(as_itk, image: Image, transform: Transform, fixed: Grid, mode: str, outside: float = 0.0) -> np.ndarray:
    reference = sitk.Image(list(fixed.size), sitk.sitkUInt8)
    reference.SetSpacing(fixed.spacing)
    reference.SetOrigin(fixed.origin)
    reference.SetDirection(fixed.direction)
    source = as_itk(image)
    source = source if mode == "linear" else sitk.Cast(source, sitk.sitkInt32)
    warped = sitk.Resample(source, reference, transform_to_sitk(transform), INTERPOLATORS[mode], outside)
    return sitk.GetArrayFromImage(warped)


def test_identity_returns_the_image(awkward_grid: Grid, blob) -> None:
    image = blob(awkward_grid)
    same = warp(image, AffineTransform.identity(image.dim), awkward_grid)
    assert torch.allclose(same.data, image.data, atol=2e-3)
    assert same.grid == awkward_grid


@pytest.mark.parametrize("toward", [(5.0, 0, 0), (0, 5.0, 0), (-3.0, 2.0, 5.0)], ids=["x", "y", "xyz"])
def test_a_blob_moved_in_the_world_is_brought_back(awkward_grid: Grid, blob, as_itk, toward) -> None:
    offset = np.asarray(toward[: awkward_grid.dim])
    fixed, moving = blob(awkward_grid), blob(awkward_grid, offset)
    # Fixed points go to moving points: a blob that lies 5 mm further along +x needs a shift of +5 mm.
    there = AffineTransform.of(np.eye(awkward_grid.dim), offset)
    back = AffineTransform.of(np.eye(awkward_grid.dim), -offset)
    warped = warp(moving, there, awkward_grid)
    assert float((warped.data - fixed.data).abs().max()) < 10
    assert float((warp(moving, back, awkward_grid).data - fixed.data).abs().max()) > 50
    assert np.abs(_peak(warped) - awkward_grid.centre).max() < 0.1
    np.testing.assert_allclose(warped.data, _resampled(as_itk, moving, there, awkward_grid, "linear"), atol=0.05)


def _peak(image: Image) -> np.ndarray:
    weight = image.data.double().square()
    return ((image.grid.points() * weight[..., None]).flatten(0, -2).sum(0) / weight.sum()).numpy()


def test_linear_warp_is_itks(grid_pair, make_transform, texture, smooth_field, as_itk) -> None:
    fixed, moving = grid_pair
    image, transform = texture(moving), make_transform(fixed, smooth_field)
    ours = warp(image, transform, fixed, outside=-7.0).data.numpy()
    itk = _resampled(as_itk, image, transform, fixed, "linear", -7.0)
    both = (ours != -7) & (itk != -7)
    assert both.mean() > 0.3
    assert np.abs(ours - itk)[both].max() < 0.1  # of about 1000
    assert np.mean((ours == -7) != (itk == -7)) < 1e-3


def test_a_quick_warp_is_the_linear_one_nearly(grid_pair, make_transform, texture, smooth_field) -> None:
    fixed, moving = grid_pair
    image, transform = texture(moving), make_transform(fixed, smooth_field)
    exact, quick = (warp(image, transform, fixed, mode, outside=-7.0).data for mode in ("linear", "quick"))
    assert torch.equal(exact == -7, quick == -7)
    steepest = max(float(image.data.diff(dim=axis).abs().max()) for axis in range(image.dim))
    assert float((exact - quick).abs().max()) < 3 * steepest / 250


def test_places_that_are_no_number_are_outside(awkward_grid: Grid, blob) -> None:
    field = DisplacementField(torch.zeros(awkward_grid.dim, *awkward_grid.shape), awkward_grid)
    nowhere = (0, *[n // 2 for n in awkward_grid.shape])
    field.data[nowhere] = torch.nan
    warped = warp(blob(awkward_grid), field, awkward_grid, outside=-7.0).data
    assert warped[nowhere[1:]] == -7
    assert int((warped == -7).sum()) == 1


@pytest.mark.parametrize("mode", ["nearest", "label"])
def test_label_warps_are_itks(grid_pair, make_transform, segments, smooth_field, as_itk, mode: str) -> None:
    fixed, moving = grid_pair
    image, transform = segments(moving), make_transform(fixed, smooth_field)
    ours = warp(image, transform, fixed, mode).data.numpy()
    itk = _resampled(as_itk, image, transform, fixed, mode)
    assert len(np.unique(itk)) == 4
    assert np.mean(ours != itk) < 1e-3


@pytest.mark.parametrize("mode", ["nearest", "label"])
def test_label_warps_bring_no_new_values_and_keep_the_type(grid_pair, segments, smooth_field, mode: str) -> None:
    fixed, moving = grid_pair
    image = segments(moving)
    warped = warp(image, _composite(fixed, smooth_field), fixed, mode)
    assert set(warped.data.unique().tolist()) <= set(image.data.unique().tolist())
    assert (warped.data.dtype, warped.pixel_type) == (image.data.dtype, "uint16")


def test_labels_beyond_half_precision_of_float_survive() -> None:
    grid = Grid.of((6, 5))
    labels = torch.full(grid.shape, (1 << 24) + 1)
    assert torch.equal(warp(Image(labels, grid, "int32"), AffineTransform.identity(2), grid, "nearest").data, labels)


def test_label_warp_finds_negative_labels() -> None:
    grid = Grid.of((6, 5))
    labels = torch.full(grid.shape, -3)
    labels[:, 3:] = 4
    assert torch.equal(warp(Image(labels, grid), AffineTransform.identity(2), grid, "label").data, labels)


def test_a_field_and_its_transform_warp_alike(grid_pair, texture, smooth_field) -> None:
    fixed, moving = grid_pair
    field = smooth_field(fixed, 5.0)
    assert torch.equal(
        warp(texture(moving), field, fixed).data, warp(texture(moving), DenseTransform(field), fixed).data
    )


def test_resample_is_itks_with_no_transform(grid_pair, texture, as_itk) -> None:
    fixed, moving = grid_pair
    image = texture(moving)
    ours = resample(image, fixed, outside=-7.0).data.numpy()
    itk = _resampled(as_itk, image, AffineTransform.identity(fixed.dim), fixed, "linear", -7.0)
    assert np.mean(np.abs(ours - itk) > 0.1) < 1e-3


def test_large_volumes_warp_in_slabs_that_join() -> None:
    grid = Grid.of((90, 90, 90))
    image = Image(grid.points()[..., 2].float(), grid)
    warped = warp(image, AffineTransform.of(np.eye(3), (0, 0, 0.5)), grid)
    assert torch.allclose(warped.data[:-1], image.data[:-1] + 0.5, atol=1e-3)


def test_fields_of_another_grid_and_other_dimensions_are_refused(awkward_grids, blob) -> None:
    image = blob(awkward_grids["plain"])
    with pytest.raises(ValueError, match="another grid"):
        warp(image, DisplacementField.identity(awkward_grids["rotated"]), awkward_grids["plain"])
    with pytest.raises(ValueError, match="expected a 2D image"):
        warp(image, AffineTransform.identity(2), awkward_grids["plane"])
