"""Augmented crops stay crops: shape, range, the unseen stays unseen, the seed decides."""

import pytest
import torch

from regcore.data.ultrasound_augmentation import IntensityAugmentation

SIZE = (8, 12, 10)
KINDS = ["mri", "gland", "ultrasound"]


def crops():
    torch.manual_seed(0)
    made = torch.rand(12, 1, *SIZE)
    made[:, :, :, :3] = 0  # nothing was seen there
    return made


def changed(kind, seed=0, given=None):
    return getattr(IntensityAugmentation(seed), kind)(crops() if given is None else given)


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_range_stay(kind):
    given = crops()
    found = changed(kind, given=given)
    assert found.shape == given.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert found.min() > -0.5
    assert found.max() < 6
    assert torch.equal(given, crops())


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_each_draw_differs(kind):
    assert torch.equal(changed(kind), changed(kind))
    assert not torch.equal(changed(kind), changed(kind, seed=1))
    augmentation = IntensityAugmentation()
    once, twice = (getattr(augmentation, kind)(crops()) for _ in range(2))
    assert not torch.equal(once, twice)
    same = crops()[:1].expand(2, -1, -1, -1, -1)
    first, second = changed(kind, given=same)
    assert not torch.equal(first, second)


def test_ultrasound_stays_black_where_nothing_was_seen():
    found = changed("ultrasound")
    assert not found[:, :, :, :3].any()
    assert (found >= 0).all()
    assert found[:, :, :, 3:].mean() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_can_still_be_recognised(kind):
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    ball = (z**2 + y**2 + x**2 < 0.6).float()
    given = (ball if kind == "gland" else 0.2 + 0.6 * ball).expand(12, 1, *SIZE)
    found = changed(kind, given=given)
    alike = [torch.corrcoef(torch.stack([item.flatten(), ball.flatten()]))[0, 1] for item in found]
    assert min(alike) > 0.3
    assert max(alike) < 0.99995


def test_a_gland_stays_between_0_and_1_and_keeps_its_size():
    ball = torch.zeros(12, 1, *SIZE)
    ball[:, :, 2:6, 3:9, 3:8] = 1
    found = changed("gland", given=ball)
    assert ((found >= 0) & (found <= 1)).all()
    assert found[ball == 1].min() > 0.5
    assert found[ball == 0].max() < 0.5
