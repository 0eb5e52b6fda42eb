"""Dice against its definition and against MONAI."""

import math

import pytest
import torch
from monai.metrics.meandice import compute_dice

from regcore.metrics.overlap import dsc


def _random_labels(seed: int, values: list[int], shape: tuple[int, ...] = (9, 11, 7)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.tensor(values)[torch.randint(len(values), shape, generator=generator)]


def test_dice_of_two_known_boxes():
    fixed, warped = torch.zeros(4, 4, dtype=torch.int64), torch.zeros(4, 4, dtype=torch.int64)
    fixed[:2] = 5
    warped[1:3] = 5
    assert dsc(fixed, warped) == {5: 0.5}


@pytest.mark.parametrize(
    "values", [[0, 1, 2, 3], [-4, 0, 7], [0, 17, 500_000, 2**40]], ids=["small", "signed", "large"]
)
def test_dice_agrees_with_monai(values):
    fixed, warped = _random_labels(0, values), _random_labels(1, values)
    scores = dsc(fixed, warped)
    assert set(scores) == set(values) - {0}
    for label, score in scores.items():
        expected = compute_dice((warped == label)[None, None], (fixed == label)[None, None]).item()
        assert score == pytest.approx(expected, abs=1e-6)


def test_a_label_in_one_map_scores_zero_and_one_in_neither_is_nan():
    fixed, warped = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1])
    scores = dsc(fixed, warped, [1, 2, 9])
    assert scores[1] == pytest.approx(2 / 3)
    assert scores[2] == 0.0
    assert math.isnan(scores[9])


def test_small_integer_types_do_not_overflow():
    fixed = torch.tensor([0, 200, 255, 255], dtype=torch.uint8)
    warped = torch.tensor([0, 255, 255, 255], dtype=torch.uint8)
    assert dsc(fixed, warped) == {200: 0.0, 255: pytest.approx(4 / 5)}


def test_other_shapes_and_fractions_are_refused():
    labels = torch.zeros(3, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="shape of fixed_labels"):
        dsc(labels, labels.T)
    with pytest.raises(ValueError, match="integer labels"):
        dsc(labels, labels.float())
