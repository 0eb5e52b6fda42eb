"""Six numbers about a crop's centre, along its axes, as an ITK transform in the world: centre, mm and signs."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.frames import Frame, to_world
from regcore.io import transform_to_sitk
from regcore.metrics import sre
from regcore.ops.rigid import apply_matrix, rigid_matrix
from regcore.transform import AffineTransform, RigidTransform

NUMBERS = (5.0, -2.0, 3.0, 10.0, -20.0, 30.0)
GRIDS = ("plain", "flipped", "permuted", "rotated", "mirrored")


def in_world(frame, numbers):
    """The residual as a rigid transform of the world, and in ITK's form."""
    world = to_world(RigidTransform.from_euler(numbers[3:], numbers[:3]), frame, frame)
    assert isinstance(world, RigidTransform)
    return world, transform_to_sitk(world)


@pytest.fixture(params=GRIDS)
def frame(request, awkward_grids):
    return Frame.of(awkward_grids[request.param])


def test_points_move_in_itk_as_they_do_in_the_crop(frame):
    _, itk = in_world(frame, NUMBERS)
    assert isinstance(itk, sitk.Euler3DTransform)
    np.testing.assert_allclose(itk.GetCenter(), frame.centre)
    matrix = rigid_matrix(torch.tensor([NUMBERS], dtype=torch.float64))
    points = np.random.default_rng(0).normal(0, 20, (10, 3))
    moved = apply_matrix(matrix, torch.as_tensor(points))[0].numpy()
    for before, after in zip(points, moved, strict=True):
        there = itk.TransformPoint((frame.centre + frame.axes @ before).tolist())
        np.testing.assert_allclose(there, frame.centre + frame.axes @ after, atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_goes_along_the_crop_s_axis_and_a_turn_keeps_its_centre(frame, axis):
    numbers = np.zeros(6)
    numbers[axis] = 7.0
    _, itk = in_world(frame, tuple(numbers))
    np.testing.assert_allclose(itk.GetTranslation(), 7.0 * frame.axes[:, axis], atol=1e-12)
    turn = np.zeros(6)
    turn[3 + axis] = 90.0
    _, itk = in_world(frame, tuple(turn))
    np.testing.assert_allclose(itk.TransformPoint(frame.centre.tolist()), frame.centre, atol=1e-9)
    first, second = frame.axes[:, (axis + 1) % 3], frame.axes[:, (axis + 2) % 3]
    there = itk.TransformPoint((frame.centre + first).tolist())
    np.testing.assert_allclose(there, frame.centre + second, atol=1e-9)


def test_the_axes_are_right_handed_and_closest_to_those_of_the_world(frame):
    assert np.linalg.det(frame.axes) == pytest.approx(1)
    assert (frame.axes.diagonal()[:2] > 0.3).all()


def test_the_inverse_on_the_fixed_side_takes_the_error_out_of_a_start(frame):
    world, _ = in_world(frame, NUMBERS)
    truth = RigidTransform.from_euler((3, -50, 20), (30, 0, -8), frame.centre)
    points = frame.centre + np.random.default_rng(1).normal(0, 10, (30, 3))
    # The start shows the content of a point at the residual's inverse of it; the network says the residual.
    start = world.compose(truth)
    assert sre(points, start, truth) > 5
    corrected = AffineTransform.of(world.matrix, world.translation, world.centre).inverse().compose(start)
    assert sre(points, corrected, truth) == pytest.approx(0, abs=1e-9)
