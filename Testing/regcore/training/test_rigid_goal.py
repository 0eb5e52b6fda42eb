"""What rigid networks are trained for: the two losses, samples by number, and the error that remains."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch

from regcore.data.rigid_batches import Batch, Variety
from regcore.models import create_model
from regcore.ops.rigid import rigid_inverse, rigid_matrix, rigid_parameters
from regcore.training.data import RigidOptions
from regcore.training.rigid_goal import RigidGoal, rigid_loss, variety_of
from regcore.training.task import SCORE

NAMES = ("attention-reg-small", "attention-reg-label-small")
FOUND = torch.tensor([[1.0, 2.0, -3.0, 4.0, -5.0, 6.0], [0.0, 1.0, 0.0, -2.0, 0.0, 3.0]])
TRUE = torch.tensor([[2.0, 0.0, -3.0, 1.0, -5.0, 8.0], [0.5, 1.0, 2.0, 0.0, 1.0, 3.0]])
CPU = torch.device("cpu")


def batch(true: torch.Tensor = TRUE) -> Batch:
    surface = torch.randn(len(true), 50, 3, generator=torch.Generator().manual_seed(0)) * 10
    crops = torch.rand(len(true), 1, 6, 8, 8)
    return Batch(crops, crops, torch.full((len(true), 3), 60.0), rigid_matrix(true), surface, torch.zeros(len(true)))


def goal(organ, name: str = NAMES[0], seed: int = 0, **options: object) -> RigidGoal:
    return RigidGoal(create_model(name), RigidOptions(**options), [organ], [organ], seed)


class Truth(torch.nn.Module):
    """Keeps what it is shown, and finds what it was given."""

    def __init__(self, found: torch.Tensor) -> None:
        super().__init__()
        self.found, self.seen = found, []

    def forward(self, fixed, moving, side_mm):
        self.seen.append((fixed, moving))
        return self.found


def test_the_paper_s_loss_is_the_mean_square_of_the_six_numbers():
    by_hand = (1 + 4 + 0 + 9 + 0 + 4 + 0.25 + 0 + 4 + 4 + 1 + 0) / 12
    assert rigid_loss(FOUND, batch(), "parameters").item() == pytest.approx(by_hand, rel=1e-4)


def test_the_loss_of_points_is_the_distance_that_remains_in_mm():
    shifted = torch.zeros(1, 6)
    shifted[0, :3] = torch.tensor([3.0, -4.0, 12.0])
    exact = rigid_loss(torch.zeros(1, 6), batch(shifted), "points").item()
    assert exact == pytest.approx(math.hypot(13, 0.5), rel=1e-5)
    of_batch = batch()
    left = of_batch.residual @ rigid_inverse(rigid_matrix(FOUND))
    apart = (left[:, :3, :3] @ of_batch.surface.mT + left[:, :3, 3:] - of_batch.surface.mT).norm(dim=1)
    by_hand = (apart.square() + 0.25).sqrt().mean().item()
    assert rigid_loss(FOUND, of_batch, "points").item() == pytest.approx(by_hand, rel=1e-4)
    assert rigid_loss(TRUE, of_batch, "points").item() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("loss", ["points", "parameters"])
def test_losses_lead_to_the_truth(loss):
    found = torch.zeros(2, 6, requires_grad=True)
    of_batch = batch()
    optimiser = torch.optim.Adam([found], 0.1)
    for _ in range(300):
        optimiser.zero_grad()
        rigid_loss(found, of_batch, loss).backward()
        optimiser.step()
    torch.testing.assert_close(found.detach(), TRUE, atol=0.05, rtol=0)


def test_the_figures_are_the_error_before_and_after_one_pass(organ):
    judging = goal(organ, sre_mm=(5.0, 5.0))
    (starts,) = judging.held_out
    still = judging.judge(Truth(torch.zeros(3, 6)), CPU)
    assert still["sre_start_mm"] == pytest.approx(5, abs=0.01)
    assert still["sre_mm"] == pytest.approx(5, abs=0.01)
    right = judging.judge(Truth(rigid_parameters(starts.residual)), CPU)
    assert right["sre_mm"] == pytest.approx(0, abs=1e-3)
    assert (right["sre_start_mm"], right[SCORE]) == (still["sre_start_mm"], -right["sre_mm"])


def test_nothing_held_out_leaves_no_figures(organ):
    assert RigidGoal(create_model(NAMES[0]), RigidOptions(), [organ], [], 0).judge(Truth(FOUND), CPU) == {}


def test_a_sample_follows_from_the_seed_and_its_number(organ):
    def shown(numbers: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        model = Truth(torch.zeros(len(numbers), 6))
        goal(organ, seed=seed).loss(model, numbers, CPU)
        return model.seen[0]

    for together, alone in zip(shown([4, 9]), shown([9]), strict=True):
        assert torch.equal(together[1:], alone)
        assert not torch.equal(together[0], alone[0])
    assert not torch.equal(shown([9], seed=1)[1], shown([9])[1])


@pytest.mark.parametrize("name", NAMES)
def test_samples_can_be_learnt_by_heart(organ, name, monkeypatch):
    torch.manual_seed(0)
    model, learning = create_model(name), goal(organ, name, sre_mm=(4.0, 6.0))
    monkeypatch.setattr(learning, "_draw", functools.cache(learning._draw))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss, parts, seconds = learning.loss(model.train(), [0, 1, 2, 3], CPU)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        assert (parts, seconds > 0) == ({}, True)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_the_options_say_how_starts_and_samples_differ(organ):
    turned = goal(organ, translation_mm=0.0, sre_mm=(2.0, 4.0)).held_out[0]
    assert rigid_parameters(turned.residual)[:, :3].abs().max() < 1e-3
    assert rigid_parameters(turned.residual)[:, 3:].abs().amax(dim=1).min() > 1
    options = RigidOptions(tilt_deg=3.0, rotation_deg=12.0)
    assert variety_of(options) == replace(Variety(), tilt_deg=3.0, rotation_deg=12.0)
    assert variety_of(RigidOptions()) == Variety()


@pytest.mark.parametrize("name", ["tilt_deg", "rotation_deg", "translation_mm"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_ranges_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"data\.rigid\.{name}: expected 0 or more"):
        RigidOptions(**{name: value})


def test_starts_that_differ_in_nothing_are_refused():
    with pytest.raises(ValueError, match="starts need shifts or rotations"):
        RigidOptions(translation_mm=0.0, rotation_deg=0.0)


def test_no_cases_and_no_range_are_refused(organ):
    with pytest.raises(ValueError, match="cases: expected at least one"):
        RigidGoal(create_model(NAMES[0]), RigidOptions(), [], [organ], 0)
    with pytest.raises(ValueError, match="sre_mm: expected a range such as"):
        goal(organ, sre_mm=(8.0, 4.0))
