import pytest
import torch

from regcore.ops.fields import jacobian_determinant
from regcore.ops.unfolding import unfold


@pytest.mark.parametrize("near", [1, 3])
@pytest.mark.parametrize("shape", [(30, 40, 35), (50, 45)])
def test_folds_vanish_and_the_rest_stays(shape, near):
    displacement = torch.zeros(1, len(shape), *shape)
    spike = (0, 0, *[n // 3 for n in shape])
    displacement[spike] = 4.0
    assert (jacobian_determinant(displacement) <= 0).any()
    unfolded = unfold(displacement, near=near)
    assert (jacobian_determinant(unfolded) >= 0.02).all()
    far = (..., slice(-8, None))
    assert torch.equal(unfolded[far], displacement[far])
    assert displacement[spike] == 4.0


def test_a_field_without_folds_is_returned_as_it_is():
    displacement = torch.rand(1, 3, 12, 13, 14) * 0.1
    assert torch.equal(unfold(displacement), displacement)


@pytest.mark.parametrize("place", [(0, 0, 0), (11, 0, 6), (0, 12, 13), (5, 6, 7)])
def test_folds_at_the_border_vanish_too(place):
    displacement = torch.zeros(1, 3, 12, 13, 14)
    displacement[(0, slice(None), *place)] = torch.tensor([4.0, -3.0, 5.0])
    assert (jacobian_determinant(displacement) <= 0).any()
    assert (jacobian_determinant(unfold(displacement)) >= 0.02).all()


def test_less_is_moved_where_less_is_smoothed():
    displacement = torch.zeros(1, 2, 30, 30)
    displacement[0, 0, 15, 15] = 3.0
    moved = [float((unfold(displacement, near=near) - displacement).abs().sum()) for near in (1, 3, 5)]
    assert moved == sorted(moved)


@pytest.mark.parametrize("seed", range(5))
def test_a_rough_field_loses_its_folds(seed):
    rough = 1.5 * torch.randn(1, 3, 24, 20, 22, generator=torch.Generator().manual_seed(seed))
    assert (jacobian_determinant(rough) <= 0).float().mean() > 0.1
    unfolded = unfold(rough)
    assert (jacobian_determinant(unfolded) > 0).all()
    assert 0.05 < float(unfolded.std() / rough.std()) < 1
