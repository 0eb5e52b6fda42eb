from __future__ import annotations

import pytest
import torch

from regcore.losses import l2, mse

from .loss_inputs import noise


def test_values_by_hand() -> None:
    warped = torch.tensor([[[[0.0, 1.0]], [[2.0, 0.0]]]])
    fixed = torch.tensor([[[[0.0, 0.0]], [[0.0, 1.0]]]])
    assert mse(warped, fixed).item() == pytest.approx((1 + 4 + 1) / 4)
    assert l2(warped, fixed).item() == pytest.approx(0.5 * (1 + 4 + 1) / 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_l2_is_half_the_channels_times_mse(channels: int) -> None:
    warped, fixed = noise(2, channels, 4, 5), noise(2, channels, 4, 5, seed=1)
    torch.testing.assert_close(l2(warped, fixed), channels / 2 * mse(warped, fixed))


def test_mask_weights_voxels() -> None:
    warped, fixed = torch.tensor([[[[1.0, 2.0, 5.0]]]]), torch.zeros(1, 1, 1, 3)
    mask = torch.tensor([[[[3.0, 1.0, 0.0]]]])
    assert mse(warped, fixed, mask=mask).item() == pytest.approx((3 * 1 + 4) / 4)
    assert l2(warped, fixed, mask=mask).item() == pytest.approx((3 * 1 + 4) / 8)


def test_size_does_not_matter() -> None:
    warped, fixed = noise(1, 1, 4, 5), noise(1, 1, 4, 5, seed=1)
    for loss in (mse, l2):
        torch.testing.assert_close(loss(warped.repeat(1, 1, 3, 2), fixed.repeat(1, 1, 3, 2)), loss(warped, fixed))
