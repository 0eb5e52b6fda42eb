"""How two volumes are brought together first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.image import Image
from regcore.preprocess import Inputs
from regcore.rigid_step import organ_start
from regcore.start import bring_together, needs_overlap, usual_start
from regcore.transform import AffineTransform

from .pairs import blob_image, centred_grid

FIXED = centred_grid((40, 36, 30), (1.0, 1.1, 1.3), np.diag([-1.0, -1.0, 1.0]))
FAR = AffineTransform.of(np.eye(3), (400.0, -20.0, 30.0))


def gland(grid, centre, radius=9.0) -> Image:
    inside = np.linalg.norm(grid.points().numpy() - np.asarray(centre), axis=-1) <= radius
    return Image(torch.from_numpy(inside.astype(np.uint8)), grid, "uint8")


def moved(grid, way: AffineTransform):
    axes = way.matrix @ grid.axes
    return type(grid).of(grid.size, grid.spacing, way(grid.origin).tolist(), axes)


@pytest.fixture
def pair() -> Inputs:
    there = moved(FIXED, FAR)
    return Inputs(
        blob_image(FIXED),
        Image(blob_image(FIXED).data, there),
        fixed_gland=gland(FIXED, (4.0, -3.0, 2.0)),
        moving_gland=gland(there, (405.0, -22.0, 31.0)),
    )


def run(pair: Inputs, kinds, start=None):
    return bring_together(pair, kinds, start, lambda fraction, message: None, lambda: False)[0]


def test_organ_goes_to_the_middle_of_the_moving_volume(pair):
    start = organ_start(pair.fixed_gland, pair.moving)
    assert np.abs(start((4.0, -3.0, 2.0)) - pair.moving.grid.centre).max() < 0.7  # half a voxel
    assert np.array_equal(start.matrix, np.eye(3))
    assert np.array_equal(run(pair, ("organ",)).homogeneous, start.homogeneous)


def test_labels_bring_the_glands_together(pair):
    found = run(pair, ("labels",))
    assert np.abs(found((4.0, -3.0, 2.0)) - [405.0, -22.0, 31.0]).max() < 0.5


def test_what_is_usual_depends_on_what_is_known(pair):
    bare = Inputs(pair.fixed, pair.moving)
    assert usual_start(pair, rigid=True) == ("organ",)
    assert usual_start(bare, rigid=True) == ("centre",)
    assert usual_start(Inputs(pair.fixed, pair.fixed), rigid=True) == ("none",)
    assert usual_start(bare, rigid=False) == ("affine",)


def test_steps_that_bring_together_need_no_overlap():
    assert not needs_overlap(("organ",), None)
    assert not needs_overlap(("labels", "rigid"), None)
    assert needs_overlap(("rigid",), None)
    assert not needs_overlap(("rigid",), FAR)


def test_missing_glands_are_named(pair):
    bare = Inputs(pair.fixed, pair.moving)
    with pytest.raises(ValueError, match="organ needs --fixed-labels"):
        run(bare, ("organ",))
    with pytest.raises(ValueError, match="labels needs --fixed-labels and --moving-labels"):
        run(Inputs(pair.fixed, pair.moving, fixed_gland=pair.fixed_gland), ("labels",))
