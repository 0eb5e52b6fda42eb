"""Positions of tokens: order, stretching, and that each place is told from every other."""

import math

import pytest
import torch

from regcore.models.layers.position import LearnedPositions, sincos_positions


@pytest.mark.parametrize("grid", [(4, 5), (2, 3, 4)])
def test_the_table_is_used_as_it_is_on_its_own_grid(grid):
    positions = LearnedPositions(6, grid)
    expected = [positions.table[(0, slice(None), *place)] for place in torch.cartesian_prod(*map(torch.arange, grid))]
    torch.testing.assert_close(positions(grid), torch.stack(expected), atol=1e-7, rtol=0)


def test_a_stretched_ramp_is_a_ramp_between_the_middles_of_its_cells():
    positions = LearnedPositions(1, (4, 6))
    with torch.no_grad():
        positions.table.copy_((torch.arange(6) + 0.5).expand(4, 6))
    stretched = positions((3, 12)).view(3, 12)
    # Cells half as wide: their middles lie at 0.25, 0.75, .. ; the first and last beyond the ramp keep its ends.
    expected = ((torch.arange(12) + 0.5) / 2).clamp(0.5, 5.5).expand(3, 12)
    torch.testing.assert_close(stretched, expected)


@pytest.mark.parametrize(("grid", "width"), [((3, 5), 16), ((3, 3, 4), 32)])
def test_sines_and_cosines_of_each_axis(grid, width):
    table = sincos_positions(grid, width, torch.zeros(())).view(*grid, width)
    bands = width // (2 * len(grid))
    place = [2, 1, 2][: len(grid)]
    expected = []
    for x in place:
        angles = [x * 10_000 ** (-band / bands) for band in range(bands)]
        expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    expected += [0.0] * (width - len(expected))
    assert table[tuple(place)].tolist() == pytest.approx(expected, abs=1e-6)


def test_every_place_of_a_large_grid_is_different():
    table = sincos_positions((12, 12, 12), 128, torch.zeros(()))
    distances = torch.cdist(table, table) + 10 * torch.eye(len(table))
    assert table.dtype == torch.float32
    assert distances.min() > 0.5
