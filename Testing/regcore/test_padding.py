import torch

from regcore.image import Image
from regcore.padding import unpadded
from regcore.preprocess import Inputs

from .pairs import centred_grid


def fan(shape=(20, 24, 28)):
    data = torch.zeros(shape)
    data[4:16, 6:18, 7:21] = torch.rand((12, 12, 14), generator=torch.Generator().manual_seed(0)) + 0.1
    return Image(data, centred_grid(shape[::-1], (1.0, 1.0, 1.0)))


def noisy(shape=(20, 24, 28)):
    return Image(
        torch.rand(shape, generator=torch.Generator().manual_seed(1)), centred_grid(shape[::-1], (1.0, 1.0, 1.0))
    )


def test_padding_is_the_value_of_the_corners():
    image = fan()
    assert torch.equal(unpadded(image).data.bool(), image.data > 0)


def test_air_with_noise_is_not_padding():
    assert unpadded(noisy()) is None


def test_a_thin_frame_is_not_worth_a_mask():
    image = noisy((60, 60, 60))
    data = image.data.clone()
    data[0] = 0
    assert unpadded(image.with_data(data)) is None


def test_only_one_sided_padding_is_masked_and_said():
    one, note = Inputs(noisy(), fan()).with_seen_parts()
    assert one.fixed_mask is None
    assert one.moving_mask is not None
    assert "moving" in note
    both, note = Inputs(fan(), fan()).with_seen_parts()
    assert both.moving_mask is None
    assert note is None


def test_a_mask_of_the_user_wins():
    mask = fan().with_data(torch.ones((20, 24, 28), dtype=torch.uint8))
    kept, note = Inputs(noisy(), fan(), moving_mask=mask).with_seen_parts()
    assert kept.moving_mask is mask
    assert note is None
