from __future__ import annotations

import pytest
import torch

from regcore.forces.mind import mind
from regcore.losses import mind_descriptor, mind_ssc

from .loss_inputs import noise, smooth


@pytest.mark.parametrize("size", [(12, 9), (8, 9, 7)])
def test_descriptor_is_that_of_the_force(size: tuple[int, ...]) -> None:
    image = noise(1, 1, *size)
    image[..., :4] = 0.3 + 1e-3 * image[..., :4]  # almost flat here: the floor of the noise matters
    torch.testing.assert_close(mind_descriptor(image), mind(image))


def test_each_image_and_channel_is_described_by_itself() -> None:
    images = noise(2, 3, 8, 9)
    images[1] *= 100
    alone = torch.cat([torch.cat([mind(c[None, None]) for c in image], dim=1) for image in images])
    torch.testing.assert_close(mind_descriptor(images), alone)


@pytest.mark.parametrize("size", [(20, 22), (12, 14, 13)])
def test_negative_and_scaled_images_are_the_same(size: tuple[int, ...]) -> None:
    fixed, other = smooth(1, 1, *size), smooth(1, 1, *size, seed=1)
    assert mind_ssc(1 - fixed, fixed) < 1e-12
    assert mind_ssc(40 * fixed + 7, fixed) < 1e-12
    assert mind_ssc(other, fixed) > 0.02


def test_better_alignment_is_a_lower_loss() -> None:
    fixed = smooth(1, 1, 30, 30, sigma=1.5)
    losses = [mind_ssc(1 - fixed.roll(shift, dims=3), fixed).item() for shift in range(4)]
    assert losses == sorted(losses)
