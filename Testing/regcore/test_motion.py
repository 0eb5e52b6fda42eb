"""Motion of a frame: sizes and lengths of maps that are known, on grids of every kind."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from regcore.grid import Grid
from regcore.image import Image
from regcore.motion import motion_of
from regcore.pipeline import Registration, register
from regcore.preprocess import Inputs
from regcore.settings import Settings
from regcore.slices import Stack
from regcore.transform import AffineTransform, DenseTransform, Transform


def known(transform: Transform, grid: Grid) -> Registration:
    """A registration that has found ``transform``."""
    noise = torch.rand(grid.shape, generator=torch.Generator().manual_seed(1))
    settings = Settings(init=("none",), refine=0, device="cpu")
    return register(Inputs(Image(noise, grid), Image(noise, grid)), settings, start=transform)


def ball(grid: Grid, radius: float) -> Image:
    """Label 4 inside a ball, or a disc, in the middle."""
    inside = (grid.points() - torch.as_tensor(grid.centre)).norm(dim=-1) < radius
    return Image(inside.long() * 4, grid, "uint8")


def resized(grid: Grid, factor: float, shift: list[float]) -> AffineTransform:
    return AffineTransform.of(np.eye(grid.dim) * factor, shift[: grid.dim], grid.centre)


@pytest.mark.parametrize("factor", [0.8, 1.15])
@pytest.mark.parametrize("dense", [False, True])
def test_a_known_change_of_size_is_found_where_the_label_went(awkward_grid, factor, dense):
    shift = [2.0, -1.5, 1.0]
    transform = resized(awkward_grid, factor, shift)
    labels = ball(awkward_grid, 10.0)
    found = DenseTransform(transform.displacement_on(awkward_grid)) if dense else transform
    motion = motion_of(known(found, awkward_grid), awkward_grid, labels)
    label = motion.labels[4]
    assert label.reference == pytest.approx(float((labels.data == 4).sum()) * np.prod(awkward_grid.spacing))
    # From the reference to the frame everything is ``factor`` times as long.
    assert label.change_percent == pytest.approx(100 * (factor**awkward_grid.dim - 1), abs=1.5)
    assert motion.carried is not None
    carried = motion.carried.data == 4
    assert float(carried.sum()) * np.prod(awkward_grid.spacing) == pytest.approx(label.size, rel=0.05)
    middle = awkward_grid.points()[carried].mean(dim=0).numpy()
    np.testing.assert_allclose(middle, transform(awkward_grid.centre), atol=0.2 * max(awkward_grid.spacing))


@pytest.mark.parametrize("slicewise", [False, True])
def test_lengths_are_those_within_the_slices_where_there_are_any(awkward_grid, slicewise):
    moves, length = awkward_grid.axes[:, 0] * 3.0, 3.0
    if awkward_grid.dim == 3:
        across = 2 - Stack.of(awkward_grid).axis
        moves = awkward_grid.axes[:, (across + 1) % 3] * 3.0 + awkward_grid.axes[:, across] * 4.0
        length = 3.0 if slicewise else 5.0
    found = known(AffineTransform.of(np.eye(awkward_grid.dim), moves), awkward_grid)
    motion = motion_of(replace(found, slicewise=slicewise), awkward_grid)
    assert (motion.mean_mm, motion.max_mm) == pytest.approx((length, length), abs=1e-4)
    assert motion.figures["labels"] == {}


def test_between_thick_slices_nothing_counts():
    grid = Grid.of((12, 14, 6), (1.0, 1.2, 8.0))
    motion = motion_of(known(AffineTransform.of(np.eye(3), [3.0, 0.0, 4.0]), grid), grid)
    assert motion.max_mm == pytest.approx(3.0, abs=1e-4)


def test_mean_length_of_a_label_is_that_of_its_own_points():
    grid = Grid.of((60, 60), (0.5, 0.5))
    motion = motion_of(known(resized(grid, 0.7, [0.0, 0.0]), grid), grid, ball(grid, 9.0))
    assert motion.labels[4].mean_mm == pytest.approx(0.3 * 9.0 * 2 / 3, rel=0.02)  # mean radius of a disc: 2/3
    assert motion.mean_mm > motion.labels[4].mean_mm


def test_nothing_moved_is_nothing(awkward_grid):
    motion = motion_of(
        known(AffineTransform.identity(awkward_grid.dim), awkward_grid), awkward_grid, ball(awkward_grid, 8)
    )
    assert (motion.mean_mm, motion.max_mm, motion.labels[4].change_percent) == pytest.approx((0, 0, 0), abs=1e-4)
    assert torch.equal(motion.carried.data, ball(awkward_grid, 8).data)


def test_labels_of_another_grid_are_refused():
    grid = Grid.of((20, 24), (1.0, 1.5))
    result = known(AffineTransform.identity(2), grid)
    with pytest.raises(ValueError, match="expected the grid of the reference frame"):
        motion_of(result, grid, ball(Grid.of((20, 24), (1.0, 1.5), (9, 0)), 5.0))
    with pytest.raises(ValueError, match="no label above 0"):
        motion_of(result, grid, ball(grid, 0.0))


def test_figures_name_areas_and_volumes():
    for size, name in (((20, 24), "area_mm2"), ((20, 24, 6), "volume_mm3")):
        grid = Grid.of(size)
        figures = motion_of(known(AffineTransform.identity(grid.dim), grid), grid, ball(grid, 5.0)).figures
        assert name in figures["labels"]["4"]
