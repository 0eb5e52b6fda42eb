import itertools

import numpy as np
import pytest
import torch

from regcore.affine import initial_transform
from regcore.grid import Grid
from regcore.image import Image
from regcore.procrustes import landmark_transform
from regcore.progress import Cancelled
from regcore.transform import AffineTransform, RigidTransform

from .pairs import blob_image, centred_grid

TURNED = RigidTransform.from_euler((15, -25, 40), (0, 0, 0)).matrix


def worst_error(found, truth, radius=30.0):
    rng = np.random.default_rng(0)
    points = rng.uniform(-radius, radius, (200, truth.dim)) * 0.6
    return np.abs(found(points) - truth(points)).max()


def pair(truth, fixed_axes=None, moving_axes=None):
    """Fixed sees the blobs through ``truth``, so that ``truth`` maps fixed points to moving ones."""
    fixed = blob_image(centred_grid((44, 40, 36), (2.0, 2.2, 2.5), fixed_axes), truth)
    moving = blob_image(centred_grid((50, 46, 30), (1.9, 2.0, 3.0), moving_axes))
    return fixed, moving


@pytest.mark.parametrize("axes", [None, TURNED])
def test_rigid_motion_is_found_to_a_fraction_of_a_voxel(axes):
    truth = RigidTransform.from_euler((8, -6, 12), (5.0, -7.0, 4.0))
    found = initial_transform(*pair(truth, axes), "rigid")
    assert isinstance(found, RigidTransform)
    assert worst_error(found, truth) < 0.5


def test_far_rotation_is_found_from_the_rotated_starts():
    truth = RigidTransform.from_euler((0, 0, 55), (2.0, 0.0, -3.0))
    assert worst_error(initial_transform(*pair(truth), "rigid"), truth) < 0.7


def test_affine_is_found():
    matrix = np.diag([1.1, 0.92, 1.05]) + np.array([[0, 0.06, 0], [0, 0, -0.05], [0.04, 0, 0]])
    truth = AffineTransform.of(matrix, (4.0, -3.0, 2.0))
    assert worst_error(AffineTransform.identity(3), truth) > 6
    # Mutual information's gradient is biased by the volume's edge on images this smooth: a voxel is what it gives.
    assert worst_error(initial_transform(*pair(truth), "affine"), truth) < 2.5


def test_2d_rigid():
    truth = RigidTransform.from_euler((14,), (6.0, -4.0))
    fixed = blob_image(centred_grid((80, 70), (1.0, 1.2)), truth)
    moving = blob_image(centred_grid((76, 90), (1.1, 1.0)))
    assert worst_error(initial_transform(fixed, moving, "rigid"), truth) < 0.5


def test_moments_and_centre_take_the_shift_with_its_sign():
    truth = AffineTransform.of(np.eye(3), (7.0, -5.0, 3.0))
    fixed, moving = pair(truth)
    found = initial_transform(fixed, moving, "moments")
    np.testing.assert_allclose(found.homogeneous[:-1, -1], (7.0, -5.0, 3.0), atol=0.3)
    far = Image(moving.data, Grid.of(moving.grid.size, moving.grid.spacing, np.add(moving.grid.origin, (500, 0, -90))))
    shift = initial_transform(fixed, far, "centre").homogeneous[:-1, -1]
    np.testing.assert_allclose(shift, far.grid.centre - fixed.grid.centre, atol=1e-9)


def test_turning_the_world_turns_the_result():
    truth = RigidTransform.from_euler((8, -6, 12), (5.0, -7.0, 4.0))
    fixed, moving = pair(truth)
    turn = RigidTransform.from_euler((20, 10, -5), (40.0, -60.0, 25.0))

    def tilted(image):
        grid = image.grid
        origin = turn(np.array(grid.origin))
        return Image(image.data, Grid.of(grid.size, grid.spacing, origin.tolist(), turn.matrix @ grid.axes))

    plain = initial_transform(fixed, moving, "affine")
    there = initial_transform(tilted(fixed), tilted(moving), "affine")
    points = np.random.default_rng(1).uniform(-40, 40, (50, 3))
    assert np.abs(there(turn(points)) - turn(plain(points))).max() < 0.02


def test_going_on_from_a_start_keeps_what_was_known():
    truth = RigidTransform.from_euler((0, 0, 120), (2.0, 0.0, -3.0))
    start = RigidTransform.from_euler((3, 0, 112), (0.0, 0.0, 0.0))
    found = initial_transform(*pair(truth), "rigid", start=start)
    assert worst_error(found, truth) < 0.7


def test_none_is_the_start_or_the_identity():
    fixed, moving = pair(AffineTransform.identity(3))
    assert np.array_equal(initial_transform(fixed, moving, "none").homogeneous, np.eye(4))
    start = AffineTransform.of(np.eye(3), (1.0, 2.0, 3.0))
    assert initial_transform(fixed, moving, "none", start=start) is start


def test_a_mask_hides_what_moves_differently():
    truth = RigidTransform.from_euler((0, 0, 8), (4.0, -3.0, 2.0))
    other = RigidTransform.from_euler((0, 0, -20), (-8.0, 9.0, -6.0))
    fixed, moving = pair(truth)
    data, mask = pair(other)[0].data.clone(), torch.zeros_like(fixed.data)
    data[:, :, :24], mask[:, :, :24] = fixed.data[:, :, :24], 1
    mixed = fixed.with_data(data)
    masked = initial_transform(mixed, moving, "rigid", fixed_mask=fixed.with_data(mask))
    rest = initial_transform(mixed, moving, "rigid", fixed_mask=fixed.with_data(1 - mask))
    assert worst_error(masked, truth) < 1.0
    assert worst_error(rest, other) < 1.0


def test_same_input_same_result():
    fixed, moving = pair(RigidTransform.from_euler((4, 2, -8), (3.0, 1.0, -2.0)))
    first, second = (initial_transform(fixed, moving, "affine") for _ in range(2))
    assert np.array_equal(first.homogeneous, second.homogeneous)


def test_cancel_stops():
    fixed, moving = pair(AffineTransform.identity(3))
    with pytest.raises(Cancelled):
        initial_transform(fixed, moving, "affine", cancelled=lambda: True)
    # Later too, from within an optimisation: the first 100 questions are answered with no.
    questions = itertools.count()
    with pytest.raises(Cancelled):
        initial_transform(fixed, moving, "affine", cancelled=lambda: next(questions) >= 100)
    assert next(questions) < 110


@pytest.mark.parametrize("kind", ["rigid", "affine"])
@pytest.mark.parametrize("dim", [2, 3])
def test_landmarks_give_the_exact_transform(kind, dim):
    rng = np.random.default_rng(dim)
    angles = (25,) if dim == 2 else (10, -20, 30)
    truth = RigidTransform.from_euler(angles, rng.normal(size=dim) * 5)
    if kind == "affine":
        truth = AffineTransform.of(truth.matrix @ np.diag(np.linspace(0.8, 1.2, dim)), truth.translation)
    points = rng.normal(size=(7, dim)) * 20
    found = landmark_transform(points, truth(points), kind)
    np.testing.assert_allclose(found(points), truth(points), atol=1e-9)


def test_rigid_landmarks_never_mirror():
    points = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    found = landmark_transform(points, points * [-1, 1, 1], "rigid")
    assert np.linalg.det(found.matrix) == pytest.approx(1.0)


def test_landmarks_that_do_not_determine_the_transform_are_refused():
    line = np.outer(np.arange(5.0), [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="too few"):
        landmark_transform(line, line, "rigid")
    with pytest.raises(ValueError, match="as many"):
        landmark_transform(line, line[:3], "rigid")
