from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss
from torch import Tensor

from regcore.losses import one_hot, soft_dice
from regcore.metrics import dsc

from .loss_inputs import noise


def _labels(*size: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 4, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(2, 3, 8, 9), (2, 4, 5, 6, 7)])
def test_equals_monai_where_every_label_is_there(size: tuple[int, ...]) -> None:
    warped, fixed = noise(*size), (noise(*size, seed=1) > 0.5).double()
    reference = DiceLoss(smooth_nr=0.0, smooth_dr=0.0)
    torch.testing.assert_close(soft_dice(warped, fixed), reference(warped, fixed))


@pytest.mark.parametrize("size", [(10, 9), (6, 7, 5)])
def test_maps_of_labels_give_the_metric(size: tuple[int, ...]) -> None:
    warped, fixed = _labels(1, 1, *size), _labels(1, 1, *size, seed=1)
    values = dsc(fixed[0, 0], warped[0, 0], labels=[1, 2, 3])
    found = soft_dice(warped, fixed, labels=[1, 2, 3])
    assert found.item() == pytest.approx(1 - sum(values.values()) / 3)
    torch.testing.assert_close(soft_dice(one_hot(warped, [1, 2, 3]), fixed, labels=[1, 2, 3]), found)


def test_labels_of_neither_image_are_left_out_and_those_of_one_count() -> None:
    warped, fixed = torch.tensor([[[[1, 1, 0, 5]]]]), torch.tensor([[[[1, 0, 0, 0]]]])
    assert soft_dice(warped, fixed, labels=[1, 7]).item() == pytest.approx(1 - 2 / 3)
    assert soft_dice(warped, fixed, labels=[1, 5]).item() == pytest.approx(1 - (2 / 3 + 0) / 2)


def test_every_item_leaves_out_its_own_labels() -> None:
    warped = torch.tensor([[[[1, 1]]], [[[2, 1]]]])
    fixed = torch.tensor([[[[1, 0]]], [[[2, 2]]]])
    first, second = 1 - 2 / 3, 1 - (0 + 2 / 3) / 2
    assert soft_dice(warped, fixed, labels=[1, 2]).item() == pytest.approx((first + second) / 2)


def test_no_labels_at_all_cost_nothing() -> None:
    warped = torch.zeros(1, 2, 4, 4, requires_grad=True)
    found = soft_dice(warped, torch.zeros(1, 2, 4, 4))
    found.backward()
    assert found == 0
    assert warped.grad is not None
    assert warped.grad.isfinite().all()


def test_equal_maps_overlap_wholly() -> None:
    labels = _labels(2, 1, 8, 8)
    assert soft_dice(labels, labels, labels=[0, 1, 2, 3]) == 0


def test_one_hot() -> None:
    found = one_hot(torch.tensor([[[[0, 3, 1]]]]), [3, 1])
    assert torch.equal(found, torch.tensor([[[[0.0, 1, 0]], [[0.0, 0, 1]]]]))


def test_refuses_what_makes_no_sense() -> None:
    labels = _labels(1, 1, 4, 4)
    with pytest.raises(ValueError, match="as warped is a map of integers"):
        soft_dice(labels, labels)
    with pytest.raises(ValueError, match="expected the shares of fixed"):
        soft_dice(labels, torch.zeros(1, 3, 4, 4), labels=[1, 2])
    with pytest.raises(ValueError, match="label_map: expected integers"):
        one_hot(torch.zeros(1, 1, 4, 4), [1])
    with pytest.raises(ValueError, match="label_map: expected integers"):
        one_hot(labels.repeat(1, 2, 1, 1), [1])
    with pytest.raises(ValueError, match="labels: expected one label"):
        one_hot(labels, [])
