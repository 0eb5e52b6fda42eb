"""Six parameters and their matrices, against SimpleITK and by algebra (specification of Attention-Reg, section 11)."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regcore.ops.rigid import (
    apply_matrix,
    mean_displacement,
    residual_target,
    rigid_inverse,
    rigid_matrix,
    rigid_parameters,
)
from regcore.transform import RigidTransform

MM = st.floats(-200, 200)
PARAMETERS = st.tuples(MM, MM, MM, st.floats(-179, 179), st.floats(-85, 85), st.floats(-179, 179))
SOME = (3.0, -7.0, 11.0, 20.0, -35.0, 110.0)
OTHERS = (-60.0, 25.0, 4.0, -100.0, 50.0, 5.0)


def matrices(*rows: tuple[float, ...]) -> torch.Tensor:
    return rigid_matrix(torch.tensor(rows, dtype=torch.float64))


def surface() -> torch.Tensor:
    return 15 * torch.nn.functional.normalize(
        torch.randn(1, 60, 3, generator=torch.Generator().manual_seed(0)).double()
    )


@settings(max_examples=40, deadline=None)
@given(PARAMETERS)
def test_parameters_and_matrix_turn_into_each_other(parameters):
    given_ = torch.tensor([parameters], dtype=torch.float64)
    matrix = rigid_matrix(given_)
    torch.testing.assert_close(rigid_parameters(matrix), given_, atol=1e-9, rtol=0)
    torch.testing.assert_close(rigid_matrix(rigid_parameters(matrix)), matrix, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(rigid_inverse(matrix) @ matrix, torch.eye(4).double()[None], atol=1e-11, rtol=0)
    assert torch.linalg.det(matrix[:, :3, :3]).item() == pytest.approx(1.0)


def test_zero_is_the_identity():
    assert torch.equal(rigid_matrix(torch.zeros(2, 6)), torch.eye(4).expand(2, 4, 4))


def test_the_order_is_that_of_itk_with_zyx_and_not_its_default():
    itk = sitk.Euler3DTransform((0, 0, 0), *np.deg2rad(SOME[3:]), SOME[:3])
    ours = matrices(SOME)[0].numpy()
    assert not np.allclose(ours[:3, :3].ravel(), itk.GetMatrix(), atol=0.01)  # Rz Rx Ry
    itk.SetComputeZYX(True)
    np.testing.assert_allclose(ours[:3, :3].ravel(), itk.GetMatrix(), atol=1e-12)
    for point in np.random.default_rng(0).normal(0, 40, (5, 3)):
        there = apply_matrix(matrices(SOME), torch.as_tensor(point)[None])[0, 0]
        np.testing.assert_allclose(there, itk.TransformPoint(point.tolist()), atol=1e-9)


def test_the_order_is_that_of_the_package_s_own_rigid_transform():
    for parameters in (SOME, OTHERS):
        rigid = RigidTransform.from_euler(parameters[3:], parameters[:3])
        np.testing.assert_allclose(matrices(parameters)[0], rigid.homogeneous, atol=1e-12)
        np.testing.assert_allclose(rigid.angles_deg, rigid_parameters(matrices(parameters))[0, 3:], atol=1e-9)


def test_points_of_a_batch_are_mapped_by_their_own_matrix():
    points = torch.randn(2, 5, 3, dtype=torch.float64)
    both = matrices(SOME, OTHERS)
    homogeneous = torch.cat([points, torch.ones(2, 5, 1)], dim=2)
    expected = torch.einsum("nij,npj->npi", both, homogeneous)[..., :3]
    torch.testing.assert_close(apply_matrix(both, points), expected)
    torch.testing.assert_close(apply_matrix(both, points[0])[1], apply_matrix(both[1:], points[:1])[0])


def test_the_target_s_matrix_turns_the_start_into_the_truth():
    true, start = matrices(SOME), matrices(OTHERS)
    target = residual_target(true, start)
    torch.testing.assert_close(rigid_matrix(target) @ start, true)
    torch.testing.assert_close(target, rigid_parameters(true @ torch.linalg.inv(start)))
    # The target undoes a perturbation; it is not the perturbation's negative.
    perturbation = (4.0, 0.0, 0.0, 0.0, 0.0, 30.0)
    undone = residual_target(true, matrices(perturbation) @ true)
    torch.testing.assert_close(rigid_matrix(undone), torch.linalg.inv(matrices(perturbation)))
    assert (undone + torch.tensor(perturbation)).abs().max() > 1


def test_the_error_of_the_truth_is_0_and_of_a_translation_its_length():
    true, points = matrices(SOME), surface()
    assert mean_displacement(rigid_matrix(residual_target(true, true)), points).item() == pytest.approx(0, abs=1e-9)
    shifted = matrices((2.0, -3.0, 6.0, 0.0, 0.0, 0.0))
    assert mean_displacement(true @ rigid_inverse(shifted @ true), points).item() == pytest.approx(7.0)
    # About the z axis a point at 15 mm travels a chord of 2 * 15 sin(5 degrees); one on the axis stays.
    turned = matrices((0.0, 0.0, 0.0, 0.0, 0.0, 10.0))
    ring = torch.tensor([[15.0, 0.0, 3.0], [0.0, 0.0, 9.0]], dtype=torch.float64)
    assert mean_displacement(turned, ring).item() == pytest.approx(15 * np.sin(np.deg2rad(5)))


def test_two_stages_with_a_perfect_second_one_end_at_no_error():
    true, start, points = matrices(SOME), matrices((8.0, -5.0, 3.0, 6.0, 2.0, -9.0)) @ matrices(SOME), surface()
    slip = torch.tensor([[1.0, -0.5, 2.0, 3.0, -1.0, 0.5]], dtype=torch.float64)
    first = rigid_matrix(residual_target(true, start) + slip) @ start
    assert mean_displacement(true @ rigid_inverse(start), points).item() > 5
    assert 0.5 < mean_displacement(true @ rigid_inverse(first), points).item() < 4
    second = rigid_matrix(residual_target(true, first)) @ first
    assert mean_displacement(true @ rigid_inverse(second), points).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        rigid_matrix,
        lambda p: rigid_parameters(rigid_matrix(p)),
        lambda p: rigid_inverse(rigid_matrix(p)),
        lambda p: residual_target(rigid_matrix(p[:1]), rigid_matrix(p[1:])),
        lambda p: apply_matrix(rigid_matrix(p), surface()[0, :5]),
        lambda p: mean_displacement(rigid_matrix(p), surface()[0, :5]),
    ],
    ids=["matrix", "parameters", "inverse", "target", "apply", "displacement"],
)
def test_gradients_are_right(function):
    parameters = torch.tensor([SOME, OTHERS], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (parameters,), atol=1e-6)
