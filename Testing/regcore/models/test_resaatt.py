import pytest
import torch
import torch.nn.functional as F
from plain_resaatt import plain_forward, shake

from regcore.models import create_model, resaatt
from regcore.models.layers.residual_attention import ResidualAttention
from regcore.ops.fields import exp
from regcore.ops.sampling import warp

NAMES = ("resaatt", "resaatt-literal", "unet")
COST_CONTROLS = {
    "attention_levels": ([1, 2], [0, 1, 2]),
    "strides": ([6, 3, 3], [3, 3, 3]),
    "pool": (2, 1),
    "radius": (6, None),
    "memory_mib": (0.25, None),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def smooth_pair(size, batch=2, dtype=torch.float64):
    coarse = torch.rand(2 * batch, 1, *(max(n // 4, 1) for n in size), dtype=dtype)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(coarse, size=size, mode=mode).unflatten(0, (2, batch)).unbind()


def small(name="resaatt", dimensions=2, **options):
    torch.manual_seed(0)
    return shake(create_model(name, dimensions=dimensions, width=4, **options)).double()


def count(name, **options):
    return sum(parameter.numel() for parameter in create_model(name, **options).parameters())


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("unet", {}, 1_927_266),
        ("resaatt", {"channels": 8}, 1_984_434),
        ("resaatt", {}, 2_051_746),
        ("resaatt-literal", {}, 2_051_746),
        ("resaatt", {"channels": 32}, 2_217_474),
        ("unet", {"width": 16}, 482_866),
        ("resaatt", {"width": 16}, 557_058),
        ("unet", {"width": 64}, 7_700_674),
        ("resaatt", {"width": 64}, 7_925_730),
        ("resaatt", {"norm": "group"}, 2_051_746),
        ("resaatt", {"dimensions": 3}, 1_452_251),
    ],
    ids=str,
)
def test_number_of_parameters(name, options, parameters):
    assert count(name, **options) == parameters


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_identity_at_the_start(name, dimensions):
    fixed, moving = smooth_pair((24, 32, 16)[:dimensions], dtype=torch.float32)
    displacement = create_model(name, dimensions=dimensions)(fixed, moving).displacement
    assert 0 < displacement.abs().max() < 1e-3
    torch.testing.assert_close(warp(moving, displacement), moving, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_plain_network_with_gradients(name, dimensions):
    model = small(name, dimensions)
    fixed, moving = smooth_pair((24, 16, 8)[:dimensions])
    gradients = []
    for found in (model.predict(fixed, moving).displacement, plain_forward(model, fixed, moving)):
        assert found.std() > 0.01
        model.zero_grad()
        found.square().sum().backward()
        gradients.append([found.detach(), *(parameter.grad.clone() for parameter in model.parameters())])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


def cell_levels(**options):
    return [isinstance(cell, ResidualAttention) for cell in create_model(width=4, **options).cells]


def test_which_levels_have_a_cell():
    assert cell_levels(name="resaatt") == [True, True, True]
    assert cell_levels(name="resaatt", dimensions=3) == [False, False, True]
    assert cell_levels(name="resaatt", attention_levels=[1]) == [False, True, False]
    assert cell_levels(name="unet") == [False, False, False]
    assert cell_levels(name="unet", dimensions=3) == [False, False, False]


@torch.no_grad()
@pytest.mark.parametrize("control", COST_CONTROLS)
def test_each_cost_control_works_and_changes_nothing_at_its_neutral_setting(control):
    changed, neutral = COST_CONTROLS[control]
    pair = smooth_pair((32, 24))
    expected = small()(*pair).displacement
    assert torch.equal(small(**{control: neutral})(*pair).displacement, expected)
    found = small(**{control: changed})(*pair).displacement
    assert torch.isfinite(found).all()
    if control == "memory_mib":
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    elif control != "attention_levels":  # leaving out a cell makes another network, with weights of its own
        assert (found - expected).abs().max() > 1e-4


@torch.no_grad()
def test_levels_without_a_cell_pass_the_features_on():
    model, pair = small(), smooth_pair((32, 24))
    for cell in model.cells[:2]:
        cell.out.weight.zero_()
        cell.out.bias.zero_()
    fewer = small(attention_levels=[2])
    fewer.load_state_dict({name: model.state_dict()[name] for name in fewer.state_dict()})
    torch.testing.assert_close(fewer(*pair).displacement, model(*pair).displacement)


@torch.no_grad()
def test_patches_are_left_out_in_training_only():
    pair = smooth_pair((32, 24))
    assert torch.equal(small(share=0.5)(*pair).displacement, small()(*pair).displacement)
    everything, some = (small(share=share).train() for share in (1.0, 0.5))
    expected = everything(*pair).displacement
    torch.testing.assert_close(everything(*pair).displacement, expected)
    drawn = [some(*pair).displacement for _ in range(3)]
    assert torch.isfinite(torch.stack(drawn)).all()
    assert all((found - other).abs().max() > 1e-5 for found, other in zip(drawn, [expected, *drawn], strict=False))


@torch.no_grad()
@pytest.mark.parametrize("dimensions", [2, 3])
def test_in_evaluation_a_batch_in_parts_is_the_whole(dimensions, monkeypatch):
    model, pair = small(dimensions=dimensions), smooth_pair((16, 24, 8)[:dimensions], batch=3)
    whole = model(*pair).displacement
    monkeypatch.setitem(resaatt._AT_A_TIME, "cpu", 1)
    torch.testing.assert_close(model(*pair).displacement, whole)


def test_in_training_the_statistics_are_those_of_the_whole_batch(monkeypatch):
    monkeypatch.setitem(resaatt._AT_A_TIME, "cpu", 1)
    model, pair = small().train(), smooth_pair((16, 24))
    with torch.no_grad():
        without_gradients = model(*pair).displacement
    torch.testing.assert_close(without_gradients, model(*pair).displacement)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_groups_need_no_batch_in_training(dimensions):
    model = small(norm="group", dimensions=dimensions).train()
    fixed, moving = smooth_pair((16, 24, 8)[:dimensions])
    together = model(fixed, moving).displacement
    torch.testing.assert_close(model(fixed[:1], moving[:1]).displacement, together[:1])


@pytest.mark.parametrize("name", NAMES)
def test_the_diffeomorphic_field_is_the_integral(name):
    pair = smooth_pair((16, 24))
    velocity = small(name).predict(*pair).displacement
    displacement = small(name, diffeomorphic=True).predict(*pair).displacement
    torch.testing.assert_close(displacement, exp(velocity, 7))
    assert (displacement - velocity).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(16, 24), (16, 16, 16), (8, 16, 24)], ids=str)
def test_half_precision_has_the_gradients_of_full_precision(size):
    model = create_model("resaatt", dimensions=len(size), width=8, norm="group")
    torch.nn.init.normal_(model.head.weight, std=0.1)
    pair = smooth_pair(size, dtype=torch.float32)
    found = []
    for low in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            displacement = model(*pair).displacement
        (displacement * torch.linspace(-1, 2, size[-1])).sum().backward()
        found.append({name: parameter.grad.flatten() for name, parameter in model.named_parameters()})
    for name, full in found[0].items():
        assert F.cosine_similarity(full, found[1][name], dim=0) > 0.9, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": 4}, "dimensions must be 2 or 3"),
        ({"width": 0}, "width and channels must be positive"),
        ({"norm": "layer"}, "norm must be batch or group"),
        ({"attention_levels": [3]}, r"some of 0, 1, 2"),
        ({"strides": [3, 3]}, r"three numbers"),
    ],
    ids=str,
)
def test_refuses_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("resaatt", **options)
