"""Synthetic prostates among the samples of rigid training."""

from __future__ import annotations

import pytest
import torch

from regcore.data.batch import generator
from regcore.data.rigid_batches import Batch, RigidSampler, Variety
from regcore.data.rigid_cases import RigidCase
from regcore.data.synthesis.prostate import synthetic_case
from regcore.data.ultrasound_augmentation import IntensityAugmentation
from regcore.models import create_model
from regcore.models.base import Network
from regcore.training.data import RigidOptions
from regcore.training.rigid_goal import RigidGoal

NAMES = ("attention-reg-small", "attention-reg-label-small")
CPU = torch.device("cpu")
NUMBERS = list(range(8))


@pytest.fixture(scope="module")
def real() -> RigidCase:
    return synthetic_case(0, 77)


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {name: create_model(name) for name in NAMES}


class Looks(torch.nn.Module):
    """Keeps what it is shown."""

    def forward(self, fixed, moving, side_mm):
        self.seen = fixed, moving, side_mm
        return torch.zeros(len(fixed), 6)


def shown(network: Network, real: RigidCase, numbers: list[int], **options: object) -> tuple[torch.Tensor, ...]:
    goal = RigidGoal(network, RigidOptions(**options), [real], [], 5)
    looks = Looks()
    goal.loss(looks, numbers, CPU)
    return looks.seen


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> list[bool]:
    return [all(torch.equal(a[n], b[n]) for a, b in zip(one, other, strict=True)) for n in range(len(one[0]))]


@pytest.mark.parametrize("name", NAMES)
def test_a_share_of_none_leaves_samples_as_they_were(networks, real, name):
    model = networks[name]
    sampler = RigidSampler([real], model.input_size, model.convention.fixed_input, (0.0, 20.0), Variety())
    intensities = IntensityAugmentation()
    rows: list[Batch] = []
    for number in NUMBERS[:3]:
        sampler.generator, intensities.generator = generator(5, number), generator(5, number)
        batch = sampler.draw(1)
        change = intensities.gland if model.convention.fixed_input == "label" else intensities.mri
        rows.append(batch._replace(fixed=change(batch.fixed), moving=intensities.ultrasound(batch.moving)))
    by_hand = tuple(torch.cat([getattr(row, part) for row in rows]) for part in ("fixed", "moving", "side_mm"))
    assert all(same(shown(model, real, NUMBERS[:3]), by_hand))


def test_some_samples_are_synthetic_and_the_others_as_they_were(networks, real):
    model = networks[NAMES[0]]
    plain, mixed = (shown(model, real, NUMBERS, synthetic=share) for share in (0.0, 0.5))
    kept = same(plain, mixed)
    assert 1 <= sum(kept) <= len(NUMBERS) - 1
    assert not any(same(plain, shown(model, real, NUMBERS, synthetic=1.0)))


@pytest.mark.parametrize("shapes", ["random", "cases"])
def test_a_sample_depends_on_its_number_alone(networks, real, shapes):
    model, options = networks[NAMES[1]], {"synthetic": 1.0, "synthetic_shapes": shapes}
    together = shown(model, real, [40, 3, 600], **options)
    alone = [shown(model, real, [number], **options) for number in (40, 3, 600)]
    assert all(same(together, tuple(torch.cat(parts) for parts in zip(*alone, strict=True))))
    assert all(bool(part.isfinite().all()) for part in together)
    assert 0.05 < float((together[0] > 0.5).float().mean()) < 0.5  # the gland, in a crop of half as much again


def test_what_is_no_share_is_refused(networks, real):
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="synthetic: expected a share from 0 to 1"):
            RigidOptions(synthetic=share)
    with pytest.raises(ValueError, match="synthetic_shapes: expected random or cases"):
        RigidGoal(networks[NAMES[0]], RigidOptions(synthetic=0.5, synthetic_shapes="eggs"), [real], [], 0)
