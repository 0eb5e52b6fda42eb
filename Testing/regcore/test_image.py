"""Images: their shape is their grid's, and turning the axes moves no voxel in space."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from regcore.grid import Grid
from regcore.image import Image, Reorientation, check_finite


def _all_turns(dim: int) -> list[Reorientation]:
    flips = list(itertools.product([False, True], repeat=dim))
    return [Reorientation(order, flip) for order in itertools.permutations(range(dim)) for flip in flips]


def test_data_must_have_the_grids_shape() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\).*\(4, 3, 2\)"):
        Image(torch.zeros(2, 3, 4), Grid.of((2, 3, 4)))


def test_tensor_is_a_float_batch_of_one() -> None:
    image = Image(torch.arange(24, dtype=torch.int32).reshape(4, 3, 2), Grid.of((2, 3, 4)), "int16")
    assert image.tensor.shape == (1, 1, 4, 3, 2)
    assert image.tensor.dtype == torch.float32
    assert image.with_data(image.data + 1).pixel_type == "int16"
    assert image.with_data(image.data, "uint8").pixel_type == "uint8"


@pytest.mark.parametrize("dim", [2, 3])
def test_every_turn_keeps_each_voxel_where_it_was(dim: int, awkward_grids: dict[str, Grid]) -> None:
    grid = awkward_grids["rotated" if dim == 3 else "plane_rotated"]
    grid = Grid.of([4, 3, 5][:dim], grid.spacing, grid.origin, grid.axes)
    positions = grid.points().movedim(-1, 0)
    for turn in _all_turns(dim):
        turned = turn.grid(grid)
        assert torch.allclose(turn.data(positions).movedim(0, -1), turned.points(), atol=1e-9)
        assert torch.equal(turn.inverse().data(turn.data(positions)), positions)
        assert turn.inverse().grid(turned).same_as(grid, 1e-9)


def test_canonical_axes_run_along_the_world(awkward_grid: Grid) -> None:
    axes = Reorientation.to_canonical(awkward_grid).grid(awkward_grid).axes
    assert (np.diag(axes) > 0).all()
    assert np.diag(axes).max() == pytest.approx(np.abs(axes).max())
    if np.abs(axes).max(axis=0).min() > np.sqrt(0.5):  # each axis has one nearest world axis
        assert (np.abs(axes).argmax(axis=0) == np.arange(awkward_grid.dim)).all()


def test_canonical_form_is_the_same_however_the_volume_is_stored(awkward_grid: Grid) -> None:
    torch.manual_seed(0)
    image = Image(torch.rand(awkward_grid.shape), awkward_grid)
    expected = Reorientation.to_canonical(awkward_grid).image(image)
    for turn in _all_turns(awkward_grid.dim)[::5]:
        stored = turn.image(image)
        again = Reorientation.to_canonical(stored.grid).image(stored)
        assert torch.equal(again.data, expected.data)
        assert again.grid.same_as(expected.grid, 1e-6)


def test_turning_an_image_keeps_its_pixel_type() -> None:
    image = Image(torch.zeros(3, 2, dtype=torch.int64), Grid.of((2, 3)), "uint8")
    turned = Reorientation((1, 0), (True, False)).image(image)
    assert (turned.pixel_type, turned.data.dtype, turned.data.shape) == ("uint8", torch.int64, (2, 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_voxels_that_are_not_finite_are_refused_by_name(bad: float) -> None:
    data = torch.rand(3, 3)
    data[1, 2] = bad
    with pytest.raises(ValueError, match=r"moving: .*NaN or infinity"):
        check_finite(Image(data, Grid.of((3, 3))), "moving")


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_an_empty_image_is_refused_by_name(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="fixed: every voxel"):
        check_finite(Image(torch.ones((3, 3), dtype=dtype), Grid.of((3, 3))), "fixed")


def test_a_usual_image_is_accepted() -> None:
    check_finite(Image(torch.arange(9.0).reshape(3, 3), Grid.of((3, 3))), "fixed")
    check_finite(Image(torch.arange(9).reshape(3, 3), Grid.of((3, 3))), "fixed")
