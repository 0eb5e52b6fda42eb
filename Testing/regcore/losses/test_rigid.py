from __future__ import annotations

import pytest
import torch

from regcore.losses import rigid_parameters_mse

from .loss_inputs import noise


def test_published_weights_are_the_plain_mean_square() -> None:
    found, true = 10 * noise(4, 6), 10 * noise(4, 6, seed=1)
    torch.testing.assert_close(rigid_parameters_mse(found, true), torch.nn.functional.mse_loss(found, true))


def test_millimetres_and_degrees_have_their_weights() -> None:
    found = torch.tensor([[1.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 2.0, 0]])
    true = torch.zeros(2, 6)
    value = rigid_parameters_mse(found, true, translation_weight=3.0, rotation_weight=0.5)
    assert value.item() == pytest.approx((3.0 * 1 + 0.5 * 4) / 12)


def test_equal_parameters_cost_nothing() -> None:
    assert rigid_parameters_mse(noise(2, 6), noise(2, 6)) == 0


@pytest.mark.parametrize("shapes", [((2, 6), (1, 6)), ((2, 3), (2, 3)), ((6,), (6,))])
def test_refuses_other_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 6\)"):
        rigid_parameters_mse(*map(torch.zeros, shapes))
