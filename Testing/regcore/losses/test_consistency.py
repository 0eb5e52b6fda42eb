from __future__ import annotations

import pytest
import torch

from regcore.losses import inverse_consistency
from regcore.ops.fields import exp
from regcore.ops.smoothing import gaussian

from .loss_inputs import noise, two_displacements

each_dimension = pytest.mark.parametrize("dim", [2, 3])


@each_dimension
def test_shift_and_its_opposite_cancel(dim: int) -> None:
    steps = torch.tensor([1.5, -2.25, 0.5][:dim], dtype=torch.float64)
    shift = steps.view(1, dim, *[1] * dim).expand(1, dim, *[6] * dim)
    assert inverse_consistency(shift, -shift) < 1e-24
    assert inverse_consistency(shift, 0 * shift).item() == pytest.approx(steps.square().sum().item())


@each_dimension
def test_flow_and_its_opposite_nearly_cancel_and_their_sum_does_not_count(dim: int) -> None:
    velocity = (8 if dim == 2 else 16) * gaussian(2 * noise(1, dim, *[24] * dim) - 1, 2.5)
    there, back = exp(velocity), exp(-velocity)
    undone = inverse_consistency(there, back)
    assert undone < 0.1 * (there + back).square().sum(1).mean()
    assert undone < 0.004 * there.square().sum(1).mean()


@each_dimension
def test_symmetric(dim: int) -> None:
    there, back = two_displacements(dim)
    torch.testing.assert_close(inverse_consistency(there, back), inverse_consistency(back, there))


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="back: expected the shape of there"):
        inverse_consistency(torch.zeros(1, 2, 5, 5), torch.zeros(1, 2, 5, 6))
    with pytest.raises(ValueError, match="there: expected"):
        inverse_consistency(torch.zeros(1, 3, 5, 5), torch.zeros(1, 3, 5, 5))
