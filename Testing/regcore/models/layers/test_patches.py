import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcore.models.layers import patches
from regcore.models.layers.patches import DisplacementHead, Resample


@torch.no_grad()
def test_down_and_up_undo_each_other_in_size():
    torch.manual_seed(0)
    down, up = Resample(nn.Conv3d(4, 8, 2, stride=2)), Resample(nn.ConvTranspose3d(8, 4, 2, stride=2))
    tokens = torch.randn(2, 5, 6, 1, 4)
    coarse = down(tokens)
    assert coarse.shape == (2, 3, 3, 1, 8)
    assert up(coarse).shape == (2, 6, 6, 2, 4)
    padded = F.pad(tokens, (0, 0, 0, 1, 0, 0, 0, 1)).movedim(-1, 1)
    plain = down.norm(F.conv3d(padded, down.convolution.weight, down.convolution.bias, stride=2).movedim(1, -1))
    torch.testing.assert_close(coarse, plain)


def head(channels=8, patch=patches.PATCH):
    torch.manual_seed(0)
    made = DisplacementHead(channels, patch).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made, torch.randn(4, 5, 3, 2, channels, dtype=torch.float64)


@pytest.mark.parametrize("voxels", [1, 2 * 2 * 6 * 64, 2**20], ids=["row by row", "two rows", "whole"])
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_the_head_equals_its_layers_whatever_the_pieces(voxels, patch, monkeypatch):
    monkeypatch.setattr(patches, "_VOXELS", voxels)
    made, pair = head(patch=patch)
    features = made.norm(torch.cat([pair[:2], pair[2:]], -1)).movedim(-1, 1)
    plain = made.convolution(made.expand(features))
    torch.testing.assert_close(made(pair), plain)
    with torch.no_grad():
        torch.testing.assert_close(made(pair), plain)


def test_the_head_starts_near_zero_and_stays_in_float32():
    torch.manual_seed(0)
    made = DisplacementHead(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(torch.randn(2, 3, 3, 3, 8))
    assert found.dtype == torch.float32
    assert found.abs().max() < 1e-3
    assert found.any()
