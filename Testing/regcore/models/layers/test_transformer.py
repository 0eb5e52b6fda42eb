"""The blocks against the library's layers with the same weights."""

import pytest
import torch
from torch import nn

from regcore.models.layers.transformer import Attention, Block, Stack

WIDTH, HEADS, HIDDEN = 12, 3, 20


def fill_attention(theirs: nn.MultiheadAttention, ours: Attention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def library_layer(ours: Block) -> nn.Module:
    kind = nn.TransformerEncoderLayer if ours.cross is None else nn.TransformerDecoderLayer
    theirs = kind(WIDTH, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=ours.norm_first).double()
    fill_attention(theirs.self_attn, ours.own)
    if ours.cross is not None:
        fill_attention(theirs.multihead_attn, ours.cross)
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[2].state_dict())
    for number, norm in enumerate(ours.norms, start=1):
        getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    return theirs


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_equals_the_layer_of_the_library(cross, norm_first):
    torch.manual_seed(0)
    ours = Block(WIDTH, HEADS, HIDDEN, cross=cross, norm_first=norm_first).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.5)
    theirs = library_layer(ours)
    tokens, memory = (torch.randn(2, n, WIDTH, dtype=torch.float64) for n in (7, 5))
    arguments = (tokens, memory) if cross else (tokens,)
    torch.testing.assert_close(ours(*arguments), theirs(*arguments))


@torch.no_grad()
def test_training_and_evaluation_are_bit_equal():
    torch.manual_seed(0)
    stack = Stack(3, 16, 4, 32, cross=True)
    tokens, memory = torch.randn(3, 10, 16), torch.randn(3, 6, 16)
    with torch.enable_grad():
        trained = stack.train()(tokens, memory)
    assert torch.equal(trained, stack.eval()(tokens, memory))


@torch.no_grad()
def test_a_batch_is_the_same_as_its_items():
    torch.manual_seed(0)
    stack = Stack(2, 16, 4, 32, cross=False).eval()
    tokens = torch.randn(5, 9, 16)
    alone = torch.cat([stack(item[None]) for item in tokens])
    torch.testing.assert_close(stack(tokens), alone, atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("depth", [2, 3])
def test_what_comes_out_is_normalised_at_every_depth(depth):
    torch.manual_seed(0)
    out = Stack(depth, 16, 4, 32, cross=False)(10 * torch.randn(2, 9, 16))
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 9), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(-1, correction=0), torch.ones(2, 9), atol=1e-3, rtol=0)
