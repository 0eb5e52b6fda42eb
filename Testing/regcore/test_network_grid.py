"""The grid on which a network is explained: as in a registration while that is small, else coarser."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.grid import Grid
from regcore.image import Reorientation
from regcore.models import list_models, model_info
from regcore.network_grid import MOST_VOXELS, network_grid

PLANAR = next(name for name in list_models("deformable") if model_info(name).dimensions == (2,))


@pytest.mark.parametrize("size", [(160, 192, 160), (97, 96, 96), (300, 400, 200)])
def test_large_volumes_are_made_coarser_and_it_is_said(size):
    fixed = Grid.of(size, (1.0, 1.0, 1.0), (5.0, -3.0, 2.0))
    found = network_grid("pan", fixed)
    assert np.prod(found.grid.size) <= MOST_VOXELS
    # No coarser than it has to be, over the same volume.
    assert np.prod(found.grid.size) > 0.85 * MOST_VOXELS
    assert len(set(found.grid.spacing)) == 1
    np.testing.assert_allclose(found.grid.centre, fixed.centre)
    assert (np.asarray(found.grid.extent) >= np.asarray(fixed.extent) - 1e-6).all()
    assert found.usual_mm == 1.0
    assert found.stack is None
    assert found.dimensions == 3


@pytest.mark.parametrize(
    ("spacing", "wanted"), [((2.0, 2.0, 2.0), 2.0), ((0.5, 0.5, 0.5), 1.0), ((0.7, 0.7, 3.0), 1.0)]
)
def test_others_are_seen_as_in_a_registration(spacing, wanted):
    found = network_grid("pan", Grid.of((40, 44, 20), spacing))
    assert found.grid.spacing == (wanted,) * 3
    assert found.usual_mm is None


def test_a_size_that_was_asked_for_is_taken_however_large():
    fixed = Grid.of((120, 110, 100))
    assert network_grid("pan", fixed, 1.0).grid == fixed
    assert network_grid("pan", fixed, 1.0).usual_mm is None
    assert network_grid("pan", fixed, 4.0).grid.size == (30, 28, 25)


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, float("nan"), float("inf")])
def test_no_size(spacing_mm):
    with pytest.raises(ValueError, match="spacing: expected a voxel size above 0 mm"):
        network_grid("pan", Grid.of((20, 20, 20)), spacing_mm)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_cut_and_joined_again(axis):
    spacing = [1.2, 1.2, 1.2]
    spacing[2 - axis] = 8.0
    fixed = Grid.of((11, 9, 7), spacing)
    found = network_grid(PLANAR, fixed)
    assert found.dimensions == 2
    assert found.grid == fixed
    assert found.steps == [1.2, 1.2]
    volume = torch.rand(1, 1, *fixed.shape)
    seen = found.cut(volume)
    assert seen.shape == (fixed.shape[axis], 1, *(n for a, n in enumerate(fixed.shape) if a != axis))
    assert torch.equal(found.join(seen).data, volume[0, 0])


def test_planes(awkward_grids):
    grid = awkward_grids["plane_rotated"]
    upright = Reorientation.to_canonical(grid).grid(grid)
    found = network_grid(PLANAR, upright, 0.8)
    assert found.dimensions == 2
    assert found.stack is None
    assert found.steps == [0.8, 0.8]
