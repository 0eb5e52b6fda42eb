"""Quick sampling against the sampling that results are made with."""

import pytest
import torch

from regcore.ops.quick_sampling import sample_quickly
from regcore.ops.sampling import sample


@pytest.mark.parametrize("size", [(2, 9, 8), (12, 1, 7), (20, 13, 1), (31, 24, 28), (1, 6, 7), (15, 17)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_same_to_a_fraction_of_a_voxel(size, channels) -> None:
    random = torch.Generator().manual_seed(len(size) + channels)
    data = torch.rand((1, channels, *size), generator=random)
    spread = torch.tensor(size).view(1, -1, *[1] * len(size)) * 1.4
    places = (torch.rand((1, len(size), *[5] * (len(size) - 1), 400), generator=random) - 0.15) * spread
    quick, exact = sample_quickly(data, places), sample(data, places, padding="border")
    assert quick.shape == exact.shape
    assert (quick - exact).abs().max() < 0.004  # of differences of at most 1 per voxel


def test_voxels_are_met_where_they_are() -> None:
    data = torch.arange(5 * 6 * 7, dtype=torch.float32).view(1, 1, 5, 6, 7)
    places = torch.tensor(
        [[0.0, 4.0, 2.0, 4.0, -3.0, 9.0], [0.0, 5.0, 3.0, 0.0, -1.0, 9.0], [0.0, 6.0, 1.0, 6.0, 3.0, 9.0]]
    )
    found = sample_quickly(data, places.view(1, 3, 1, 1, -1)).flatten()
    assert torch.allclose(found, torch.tensor([0.0, 209.0, 106.0, 174.0, 3.0, 209.0]), atol=0.01)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_many_points(threads) -> None:
    data, places = torch.rand(1, 3, 20, 30, 40), torch.rand(1, 3, 1, 1, 60_000) * 20
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = sample_quickly(data, places)
    finally:
        torch.set_num_threads(before)
    assert (found - sample(data, places, padding="border")).abs().max() < 0.004


def test_more_rows_than_can_be_told_apart_are_sampled_exactly() -> None:
    data = torch.rand(1, 1, 300, 300, 2)
    places = torch.rand(1, 3, 1, 1, 500) * torch.tensor([299.0, 299.0, 1.0]).view(1, 3, 1, 1, 1)
    assert torch.equal(sample_quickly(data, places), sample(data, places, padding="border"))
