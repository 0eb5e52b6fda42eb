import numpy as np
import pytest
import torch

from regcore.field import from_voxels
from regcore.grid import Grid
from regcore.slices import Stack

from ..conftest import GRIDS

STACK = Grid.of((20, 24, 6), (1.4, 1.2, 8.0), (1, 2, 3), GRIDS["rotated"].axes)


@pytest.mark.parametrize(("spacing", "axis"), [((1, 1, 8), 0), ((1, 8, 1), 1), ((8, 1, 1), 2), ((1, 1, 1), 0)])
def test_slices_lie_across_the_longest_edge(spacing, axis):
    stack = Stack.of(Grid.of((5, 6, 7), spacing))
    assert stack.axis == axis
    assert stack.thick is (max(spacing) > 1)


def test_edges_that_differ_by_rounding_are_equal():
    assert Stack.of(Grid.of((5, 6, 7), (1.0, 1.0004, 1.0))).axis == 0


def test_a_plane_has_no_slices():
    with pytest.raises(ValueError, match="slicewise: expected a 3D volume"):
        Stack.of(GRIDS["plane"])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cut_and_join_keep_every_voxel_in_its_place(axis):
    shape = (4, 5, 6)
    spacing = [1.0, 1.0, 1.0]
    spacing[2 - axis] = 8.0
    stack = Stack.of(Grid.of(shape[::-1], spacing))
    volume = torch.arange(120.0).view(1, 1, *shape)
    slices = stack.cut(volume)
    assert slices.shape == (shape[axis], 1, *[n for a, n in enumerate(shape) if a != axis])
    assert torch.equal(slices[2, 0], volume[0, 0].select(axis, 2))
    joined = stack.join(torch.cat([slices, -slices], dim=1))
    others = [a for a in range(3) if a != axis]
    assert torch.equal(joined[0, others[0]], volume[0, 0])
    assert torch.equal(joined[0, others[1]], -volume[0, 0])
    assert not joined[0, axis].any()


def test_nothing_moves_along_the_normal_in_the_world():
    stack = Stack.of(STACK)
    torch.manual_seed(0)
    field = from_voxels(stack.join(torch.randn(6, 2, 24, 20)), STACK)
    across = np.tensordot(STACK.axes[:, 2], field.data.numpy(), 1)
    assert np.abs(across).max() < 1e-5
    assert field.data.abs().max() > 1


def test_pixels_become_square_and_slices_stay():
    plane = Stack.of(STACK).in_plane(1.5)
    assert plane.grid.spacing == (1.5, 1.5, 8.0)
    assert plane.grid.size[2] == 6
    np.testing.assert_allclose(plane.grid.centre, STACK.centre)
    assert Stack.of(STACK).in_plane(0.5).grid.spacing == (1.2, 1.2, 8.0)
