"""Euler numbers and components against scikit-image and on shapes whose topology is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import euler_number as skimage_euler_number
from skimage.measure import label as skimage_label

from regcore.metrics.topology import count_components, euler_number, topology_change

_MASKS = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7).flatmap(lambda shape: arrays(bool, shape))


def _expected(mask: np.ndarray) -> tuple[int, int]:
    components = skimage_label(mask, connectivity=1, return_num=True)[1]
    return int(skimage_euler_number(np.pad(mask, 1), connectivity=1)), components


def _found(mask: np.ndarray) -> tuple[int, int]:
    tensor = torch.from_numpy(mask)
    return euler_number(tensor), count_components(tensor)


@settings(deadline=None, max_examples=200)
@given(_MASKS)
def test_agrees_with_scikit_image(mask):
    assert _found(mask) == _expected(mask)


@pytest.mark.parametrize("shape", [(120, 130), (30, 33, 37)], ids=["2D", "3D"])
@pytest.mark.parametrize("share", [0.1, 0.32, 0.59, 0.9])
def test_random_masks_agree_with_scikit_image(shape, share):
    # Near the percolation thresholds (0.312 in 3D, 0.593 in 2D) components are the most winding.
    mask = np.random.default_rng(0).random(shape) < share
    assert _found(mask) == _expected(mask)


def _ball(radius: float, size: int = 21) -> np.ndarray:
    grid = np.indices((size,) * 3) - size // 2
    return (grid**2).sum(axis=0) <= radius**2


def _torus() -> np.ndarray:
    k, j, i = np.indices((9, 25, 25)) - np.array([4, 12, 12])[:, None, None, None]
    return (np.hypot(j, i) - 8) ** 2 + k**2 <= 9


def _apart() -> np.ndarray:
    return np.concatenate([_ball(5), _ball(3)], axis=2)


def _winding() -> np.ndarray:
    """A path that visits every other row, joined at alternating ends."""
    mask = np.zeros((41, 30), dtype=bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    return mask


KNOWN = {
    "ball": (_ball(6), 1, 1),
    "hollow ball": (_ball(8) & ~_ball(4), 2, 1),
    "torus": (_torus(), 0, 1),
    "two balls": (_apart(), 2, 2),
    "ring": (np.pad(np.zeros((3, 3), dtype=bool), 2, constant_values=True), 0, 1),
    "corners only": (np.eye(4, dtype=bool), 4, 4),
    "winding path": (_winding(), 1, 1),
    "nothing": (np.zeros((4, 5, 6), dtype=bool), 0, 0),
    "everything": (np.ones((4, 5, 6), dtype=bool), 1, 1),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_topology(name):
    mask, euler, components = KNOWN[name]
    assert _found(mask) == (euler, components)
    assert _found(np.ascontiguousarray(mask.T)) == (euler, components)


def test_any_integer_that_is_not_zero_counts():
    mask = torch.tensor([[0, 3, -1], [0, 0, 0], [7, 0, 0]])
    assert (euler_number(mask), count_components(mask)) == (2, 2)


def _two_labels() -> torch.Tensor:
    labels = torch.zeros(12, 20, dtype=torch.int64)
    labels[1:11, 1:8], labels[2:10, 10:19] = 4, 9
    return labels


def test_a_tear_changes_both_and_a_hole_the_euler_number_only():
    before, torn, pierced = _two_labels(), _two_labels(), _two_labels()
    torn[5, :9] = 0
    assert topology_change(before, torn) == (0.5, 0.5)
    assert topology_change(before, torn, [4]) == (1, 1)
    assert topology_change(torn, before, [4]) == (1, 1)
    pierced[4, 4] = pierced[7, 4] = pierced[5, 15] = 0
    assert topology_change(before, pierced) == (1.5, 0)


def test_moving_and_swelling_change_nothing():
    before, after = _two_labels(), torch.zeros(12, 20, dtype=torch.int64)
    after[3:9, 2:7], after[1:12, 11:20] = 4, 9
    assert topology_change(before, after) == (0, 0)


def test_a_label_that_is_gone_counts_and_an_unknown_one_does_not():
    before = _two_labels()
    after = torch.where(before == 9, 0, before)
    assert topology_change(before, after) == (0.5, 0.5)
    assert topology_change(before, after, [9, 77]) == (1, 1)
    assert all(math.isnan(value) for value in topology_change(before, after, [77]))
    assert all(math.isnan(value) for value in topology_change(0 * before, 0 * before))


def test_other_shapes_and_fractions_are_refused():
    labels = _two_labels()
    with pytest.raises(ValueError, match="warped_labels: expected the shape of moving_labels"):
        topology_change(labels, labels[1:])
    with pytest.raises(ValueError, match="warped_labels: expected booleans or integers"):
        topology_change(labels, labels.float())
    for measure in (euler_number, count_components):
        with pytest.raises(ValueError, match="mask: expected booleans or integers"):
            measure(labels.float())
