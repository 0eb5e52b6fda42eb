"""Attention-Reg against its parameter table and against the explicit form of its attention."""

import pytest
import torch
import torch.nn.functional as F

from regcore.models import attention_reg, create_model
from regcore.models.attention_reg import AttentionReg, CrossModalAttention
from regcore.models.base import Convention

SHAPE = (3, 4, 5)
POSITIONS = 60
CONVENTION = Convention("image", "crop", "each", "mm")


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, 32, *SHAPE, generator=generator)


def block(seed=0):
    torch.manual_seed(seed)
    made = CrossModalAttention()
    made.apply(attention_reg._initialise)
    # Running statistics as after some training, so that the normalisation does something in evaluation mode.
    made.norm.running_mean.uniform_(-1, 1)
    made.norm.running_var.uniform_(0.5, 2)
    return made.eval()


def explicit(made, primary, cross):
    """Equation 1 of the paper in matrices: softmax over the positions of ``primary``, logits unscaled."""
    query, key, value = (
        F.conv3d(of, layer.weight, layer.bias).flatten(2)
        for layer, of in ((made.query, cross), (made.key, primary), (made.value, primary))
    )
    attention = torch.einsum("nci,ncj->nij", query, key).softmax(dim=2)
    found = torch.einsum("nij,ncj->nci", attention, value).view(len(primary), 16, *primary.shape[2:])
    return attention, found, made.norm(made.out(found)) + primary


def shuffled(volume, order):
    return volume.flatten(2)[..., order].view_as(volume)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("attention-reg", 1_248_777),
        ("attention-reg-label", 1_248_777),
        ("feature-reg", 1_244_393),
        ("attention-reg-small", 216_585),
        ("attention-reg-label-small", 216_585),
    ],
)
def test_number_of_parameters(name, parameters):
    assert sum(parameter.numel() for parameter in create_model(name).parameters()) == parameters


@torch.inference_mode()
def test_the_paper_s_size_gives_the_paper_s_shapes():
    model = create_model("feature-reg").eval()
    crops = torch.rand(2, 1, 1, 32, 96, 96)
    fixed, moving = model.extract(*crops)
    assert fixed.shape == moving.shape == (1, 32, 16, 24, 24)
    assert model(*crops, torch.full((1, 3), 60.0)).shape == (1, 6)
    with pytest.raises(ValueError, match=r"crops \(N, 1, 32, 96, 96\), got \(1, 1, 16, 48, 48\)"):
        create_model("attention-reg")(*crops[..., ::2, ::2, ::2], torch.full((1, 3), 60.0))


def test_equals_the_explicit_form():
    made = block()
    primary, cross = features()
    attention, _, expected = explicit(made, primary, cross)
    assert attention.max() > 5 / POSITIONS  # some positions matter more than others
    torch.testing.assert_close(made(primary, cross), expected, atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_the_explicit_form():
    made = block()
    ends = torch.randn(2, 32, *SHAPE)
    found = []
    for run in (made, lambda p, c: explicit(made, p, c)[2]):
        made.zero_grad()
        inputs = [part.requires_grad_() for part in features()]
        (run(*inputs) * ends).mean().backward()
        found.append([*(part.grad for part in inputs), *(p.grad.clone() for p in made.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        assert ours.isfinite().all()


def test_logits_are_not_scaled():
    made = block()
    primary, cross = features()
    query, key, value = made.tokens(primary, cross)
    assert query.shape == key.shape == value.shape == (2, 1, POSITIONS, 16)
    assert all(part.is_contiguous() for part in (query, key, value))
    plain = F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0].transpose(1, 2)
    scaled = F.scaled_dot_product_attention(query, key, value)[:, 0].transpose(1, 2)
    found = explicit(made, primary, cross)[1].flatten(2)
    torch.testing.assert_close(plain, found, atol=1e-5, rtol=1e-5)
    assert (scaled - found).abs().max() > 0.1


def test_the_order_of_the_cross_positions_is_that_of_the_result_and_of_the_primary_ones_is_none():
    made = block()
    primary, cross = features()
    order = torch.randperm(POSITIONS, generator=torch.Generator().manual_seed(1))
    added = made(primary, cross) - primary
    torch.testing.assert_close(made(primary, shuffled(cross, order)) - primary, shuffled(added, order))
    turned = shuffled(primary, order)
    torch.testing.assert_close(made(turned, cross) - turned, added, atol=1e-5, rtol=1e-5)
    assert (shuffled(added, order) - added).abs().max() > 0.1


def test_the_attention_of_one_position_is_a_row_of_the_explicit_softmax():
    made = block()
    primary, cross = features()
    attention = explicit(made, primary, cross)[0]
    for position in (0, 17, POSITIONS - 1):
        row = made.weights(primary, cross, position)
        assert row.shape == (2, *SHAPE)
        torch.testing.assert_close(row.flatten(1), attention[:, position], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(row.sum(dim=(1, 2, 3)), torch.ones(2))


def test_autocast_leaves_the_softmax_in_float32(monkeypatch):
    seen = []
    attend = F.scaled_dot_product_attention

    def spy(query, key, value, scale):
        seen.append((query, key, value, scale, torch.is_autocast_enabled("cpu")))
        return attend(query, key, value, scale=scale)

    monkeypatch.setattr(attention_reg.F, "scaled_dot_product_attention", spy)
    made = block()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made.query(features()[0]).dtype == torch.bfloat16
        made(*features())
    ((query, key, value, scale, lowered),) = seen
    assert query.dtype == key.dtype == value.dtype == torch.float32
    assert scale == 1.0
    assert not lowered


def test_autocast_leaves_the_head_in_float32():
    torch.manual_seed(0)
    model = AttentionReg((4, 8, 8), CONVENTION).eval()
    pair = torch.rand(2, 1, 32, 2, 2, 2).unbind(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = model.fuse(torch.cat(pair, dim=1))
        found = model.register_features(*pair)
    assert torch.equal(found, model.head(fused.float()))


def test_two_blocks_look_at_each_other_s_features_from_before_either():
    torch.manual_seed(0)
    model = AttentionReg((4, 8, 8), CONVENTION).eval()
    fixed, moving = model.extract(*torch.rand(2, 1, 1, 4, 8, 8))
    first, second = model.attend(fixed, moving)
    assert torch.equal(first, F.relu(model.blocks[0](fixed, moving)))
    assert torch.equal(second, F.relu(model.blocks[1](moving, fixed)))
    plain = AttentionReg((4, 8, 8), CONVENTION, attention=False)
    assert all(torch.equal(a, b) for a, b in zip(plain.attend(fixed, moving), (fixed, moving), strict=True))


def test_starts_as_the_identity_only_if_asked():
    fixed, moving = features()
    for zero_init, same in ((True, True), (False, False)):
        model = AttentionReg((4, 8, 8), CONVENTION, zero_init_block=zero_init)
        assert torch.equal(model.blocks[0](fixed, moving), fixed) is same


def test_convolutions_start_as_in_the_paper_s_code():
    torch.manual_seed(0)
    model = create_model("attention-reg-small")
    for convolution in (m for m in model.modules() if isinstance(m, torch.nn.Conv3d)):
        fan_out = convolution.out_channels * convolution.kernel_size[0] ** 3
        if convolution.weight.numel() >= 512:
            assert convolution.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.12)
    assert all((m.weight == 1).all() for m in model.modules() if isinstance(m, torch.nn.BatchNorm3d))


def test_dropout_changes_training_only():
    torch.manual_seed(0)
    model = AttentionReg((4, 8, 8), CONVENTION, dropout=0.5)
    crops = *torch.rand(2, 2, 1, 4, 8, 8), torch.full((2, 3), 60.0)
    assert not torch.equal(model(*crops), model(*crops))
    model.eval()
    assert torch.equal(model(*crops), model(*crops))


@pytest.mark.parametrize("size", [(3, 8, 8), (4, 6, 8), (4, 8, 10), (0, 8, 8)])
def test_sizes_that_cannot_be_halved_are_refused(size):
    with pytest.raises(ValueError, match=r"input_size: expected \(z, y, x\) in multiples of \(2, 4, 4\)"):
        AttentionReg(size, CONVENTION)
