import pytest
import torch
from plain_pan import plain_attention, plain_forward, shake

from regcore.models import create_model, pan
from regcore.models.layers.local_attention import local_attention
from regcore.models.pan import PAN
from regcore.ops.sampling import warp


def count(**options):
    return sum(parameter.numel() for parameter in create_model("pan", **options).parameters())


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, 3_568_751),
        ({"keep_unused": True}, 3_572_639),
        ({"channels": 4, "keep_unused": True}, 904_015),
        ({"channels": 16, "keep_unused": True}, 14_229_471),
    ],
)
def test_number_of_parameters(options, parameters):
    assert count(**options) == parameters


def test_the_biases_before_a_normalisation_are_dead_and_not_trained():
    model = create_model("pan")
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    assert sum(p.numel() for p in frozen.values()) == 992
    assert all("encoder" in name and name.endswith("convolution.bias") for name in frozen)


@torch.no_grad()
def test_identity_at_the_start():
    torch.manual_seed(0)
    fixed, moving = torch.rand(2, 1, 1, 32, 32, 48)
    displacement = create_model("pan")(fixed, moving).displacement
    assert displacement.abs().max() < 1e-5
    torch.testing.assert_close(warp(moving, displacement), moving, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mask_outside", [False, True])
def test_attention_equals_the_unfolded_form(mask_outside):
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 12, 4, 5, 6)
    bias = torch.randn(2, 3, 3, 3)
    ours = local_attention(query, key, bias, mask_outside=mask_outside)
    plain = plain_attention(query, key, bias, mask_outside)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask_outside", [False, True])
@pytest.mark.parametrize("large", [False, True], ids=["as a batch", "one after the other"])
@torch.no_grad()
def test_equals_the_plain_network(mask_outside, large, monkeypatch):
    if large:
        monkeypatch.setattr(pan, "_LARGE", 0)
    # Biases before normalisations are drawn at random too: the plain form adds them, ours does not.
    model = shake(PAN(4, mask_outside=mask_outside))
    fixed, moving = smooth_pair((32, 16, 48))
    plain = plain_forward(model, fixed, moving)
    assert plain.abs().max() > 0.1
    torch.testing.assert_close(model(fixed, moving).displacement, plain, atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_the_plain_network():
    model = shake(PAN(2))
    fixed, moving = smooth_pair((32, 32, 16))
    gradients = []
    for run in (lambda: model(fixed, moving).displacement, lambda: plain_forward(model, fixed, moving)):
        model.zero_grad()
        run().square().sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad})
    for name, ours in gradients[0].items():
        plain = gradients[1][name]
        assert torch.linalg.vector_norm(ours - plain) <= 1e-3 * torch.linalg.vector_norm(plain) + 1e-6, name


def smooth_pair(size):
    torch.manual_seed(1)
    coarse = torch.rand(2, 1, 1, *(n // 4 for n in size))
    return torch.nn.functional.interpolate(coarse[:, 0], size=size, mode="trilinear").unsqueeze(1)


@pytest.mark.parametrize("orth", ["code", "paper"])
def test_penalties_are_given_per_image_and_reach_the_encoder(orth):
    model = create_model("pan", channels=2, orth=orth)
    penalties = model(*smooth_pair((32, 32, 32))).penalties
    assert set(penalties) == {"orthogonality_query", "orthogonality_key"}
    assert all(0 <= value < 1 for value in penalties.values())
    sum(penalties.values()).backward()
    assert model.stem.weight.grad.any()


def test_penalties_of_a_batch_are_the_mean_of_its_items():
    model = shake(PAN(2))
    fixed, moving = (
        torch.cat(pair) for pair in zip(smooth_pair((32, 32, 32)), smooth_pair((32, 32, 32)).flip(2), strict=True)
    )
    together = model(fixed, moving).penalties
    alone = [model(f[None], m[None]).penalties for f, m in zip(fixed, moving, strict=True)]
    for name, value in together.items():
        torch.testing.assert_close(value, torch.stack([item[name] for item in alone]).mean())


@torch.no_grad()
def test_padding_is_at_the_high_end():
    model = shake(PAN(2)).eval()
    fixed, moving = smooth_pair((32, 32, 32))
    fixed[..., 20:] = moving[..., 20:] = 0
    whole = model(fixed, moving).displacement
    part = model(fixed[..., :20], moving[..., :20]).displacement
    torch.testing.assert_close(part, whole[..., :20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be positive"),
        ({"orth": "x"}, "code, paper"),
    ],
)
def test_refuses_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("pan", **options)


def test_half_precision_has_the_gradients_of_full_precision():
    torch.manual_seed(0)
    model = shake(create_model("pan", channels=2)).train()
    pair = torch.rand(2, 1, 1, 32, 32, 32)  # two voxels a side on the coarsest level
    found = []
    for low in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            displacement = model(*pair).displacement
        (displacement * torch.linspace(-1, 1, 32)).sum().backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    for name, full in found[0].items():
        if "convolution.weight" in name and full.norm() > 0:
            assert torch.nn.functional.cosine_similarity(full.flatten(), found[1][name].flatten(), dim=0) > 0.9, name


@torch.no_grad()
def test_bright_and_dark_may_change_places_where_contrast_is_matched():
    matching, plain = (shake(PAN(2, match_contrast=match)).eval() for match in (True, False))
    fixed, moving = smooth_pair((32, 16, 16))
    found, inverted = (matching(fixed, image).displacement for image in (moving, 1 - moving))
    assert (inverted - found).abs().max() < 0.05 * found.abs().max()
    found, inverted = (plain(fixed, image).displacement for image in (moving, 1 - moving))
    assert (inverted - found).abs().max() > 0.05 * found.abs().max()
