import pytest
import torch
import torch.nn.functional as F

from regcore.models.layers import cross_attention as module
from regcore.models.layers.cross_attention import CrossAttentionBlock, FusionLevel, FusionModule, FusionOptions, swap
from regcore.models.layers.window_attention import window_attention

PLAIN = FusionOptions(checkpoint=False)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def tokens(channels=8, batch=4, size=(4, 3, 5)):
    return torch.randn(batch, *size, channels, dtype=torch.float64)


def block(stochastic_depth=0.0, options=PLAIN):
    return CrossAttentionBlock(8, 2, stochastic_depth, options).double()


def test_the_halves_change_places():
    pair = tokens()
    assert torch.equal(swap(pair)[:2], pair[2:])
    assert torch.equal(swap(swap(pair)), pair)


@torch.no_grad()
def test_the_block_follows_its_formula(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 7)
    cat, base, search = block(), tokens(), tokens()
    for parameter in cat.parameters():
        torch.nn.init.normal_(parameter)
    query = cat.query(cat.norm_base(base))
    found = window_attention(query, cat.key_value(cat.norm_search(search)), 2)
    middle = base + F.linear(found, cat.project.weight, cat.project.bias)
    norm, widen, _, narrow = cat.perceptron
    expected = middle + narrow(F.gelu(widen(norm(middle))))
    kept = base.clone()
    torch.testing.assert_close(cat.eval()(base, search), expected)
    assert torch.equal(base, kept)


def test_with_and_without_gradients_it_is_the_same(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 7)
    cat, base, search = block().eval(), tokens(), tokens()
    with torch.no_grad():
        pieces = cat(base, search)
    torch.testing.assert_close(pieces, cat(base, search).detach())


@torch.no_grad()
def test_stochastic_depth_leaves_out_whole_items_and_keeps_the_mean():
    base, search = tokens(batch=1).expand(64, -1, -1, -1, -1), tokens(batch=1).expand(64, -1, -1, -1, -1)
    cat = block(0.5)
    torch.nn.init.zeros_(cat.perceptron[-1].weight)
    torch.nn.init.zeros_(cat.perceptron[-1].bias)
    change = (cat.eval()(base, search) - base)[0]
    factors = [(item * change).sum() / change.square().sum() for item in cat.train()(base, search) - base]
    assert {round(float(factor), 6) for factor in factors} == {0.0, 2.0}
    assert 16 < sum(factor > 1 for factor in factors) < 48


def test_checkpoints_change_no_gradient():
    base, search = tokens().requires_grad_(), tokens().requires_grad_()
    kept, again = block(0.3).train(), block(0.3, FusionOptions(checkpoint=True)).train()
    again.load_state_dict(kept.state_dict())
    gradients = []
    for cat in (kept, again):
        torch.manual_seed(1)
        result = cat(base, search)
        gradients.append(torch.autograd.grad(result.square().sum(), [base, search, *cat.parameters()]))
    assert any(gradient.any() for gradient in gradients[0])
    torch.testing.assert_close(*gradients)


def test_checkpoints_keep_less():
    def kept(checkpoint):
        sizes = []
        cat, base = block(0.0, FusionOptions(checkpoint=checkpoint)).train(), tokens().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            cat(base, base)
        return sum(sizes)

    assert kept(True) < kept(False) / 20


@pytest.mark.parametrize("merge", ["mean", "sequential", "concat"])
@torch.no_grad()
def test_fusion_looks_at_the_other_image_at_each_level(merge):
    module = FusionModule(8, 2, [4, 2], 0.0, FusionOptions(merge=merge)).double().eval()
    pair, finer = tokens(), [tokens(4), tokens(2)]
    searches = [swap(pair), *(widen(swap(level)) for widen, level in zip(module.widen, finer, strict=True))]
    if merge == "sequential":
        expected = pair
        for search in searches:
            expected = module.block(expected, search)
    else:
        results = [module.block(pair, search) for search in searches]
        expected = sum(results) / 3 if merge == "mean" else module.join(torch.cat(results, -1))
    torch.testing.assert_close(module(pair, finer), expected)


@torch.no_grad()
def test_both_ways_and_all_levels_share_one_block():
    alone, over_levels = FusionModule(8, 2, [], 0.0, PLAIN), FusionModule(8, 2, [4], 0.0, PLAIN)
    names = {name for name, _ in over_levels.named_parameters()} - {name for name, _ in alone.named_parameters()}
    assert names == {"widen.0.weight", "widen.0.bias"}
    alone = alone.double().eval()
    pair = tokens()
    torch.testing.assert_close(alone(swap(pair), []), swap(alone(pair, [])))


@torch.no_grad()
def test_a_level_is_its_modules_in_turn():
    level = FusionLevel(8, 2, [4], [0.0, 0.1], PLAIN).double().eval()
    pair, finer = tokens(), [tokens(4)]
    first, second = level.steps
    assert second.block.stochastic_depth == 0.1
    torch.testing.assert_close(level(pair, finer), second(first(pair, finer), finer))


def test_refuses_an_unknown_merge_and_windows_without_a_centre():
    with pytest.raises(ValueError, match="merge must be one of mean, sequential, concat, got 'sum'"):
        FusionModule(8, 2, [], 0.0, FusionOptions(merge="sum"))
    with pytest.raises(ValueError, match="window and magnification must be"):
        FusionModule(8, 2, [], 0.0, FusionOptions(window=3, magnification=2))
