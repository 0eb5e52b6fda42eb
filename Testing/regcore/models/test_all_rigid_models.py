"""What every registered rigid network must do, written once."""

import pytest
import torch

from regcore.models import attention_reg, create_model, list_models, load_model, save_model
from regcore.models._checkpoint import read_checkpoint

NAMES = list_models("rigid")


@pytest.fixture(params=NAMES)
def case(request, monkeypatch):
    """A network and two pairs of the crops it takes, the same at every call."""
    # The same networks for smaller crops: only the first fully connected layer depends on their size. Not 4 deep: on
    # a processor torch's bfloat16 gradients of convolution weights are wrong where 2 slices are left.
    monkeypatch.setattr(attention_reg, "_PAPER_SIZE", (6, 16, 12))
    monkeypatch.setattr(attention_reg, "_SMALL_SIZE", (6, 8, 12))
    torch.manual_seed(0)
    model = create_model(request.param).eval()
    fixed, moving = torch.rand(2, 2, 1, *model.input_size)
    return model, fixed, moving, torch.tensor([[60.0, 50.0, 70.0], [40.0, 45.0, 64.0]])


@torch.no_grad()
def test_six_numbers_for_each_pair(case):
    model, fixed, moving, side = case
    before = [part.clone() for part in (fixed, moving, side)]
    found = model(fixed, moving, side)
    assert found.shape == (2, 6)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert not torch.equal(found[0], found[1])
    assert all(torch.equal(now, then) for now, then in zip((fixed, moving, side), before, strict=True))


def test_gradients_reach_every_trained_parameter(case):
    model, fixed, moving, side = case
    found = model(fixed, moving, side)
    (found * torch.randn_like(found)).sum().backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any() or not parameter.grad.isfinite().all()
    ]
    # A bias of the key adds the same to all logits of a query, and the softmax takes it out again.
    assert [name for name in without if not name.endswith("key.bias")] == []


@torch.no_grad()
def test_saved_and_loaded_is_bit_equal(case, tmp_path):
    model, *crops = case
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert not again.training
    assert again.recipe == model.recipe
    assert again.convention == model.convention
    states = model.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(model(*crops), again(*crops))


def test_the_convention_is_stored_with_the_weights(case, tmp_path):
    name = case[0].recipe.name
    model = create_model(name, center="mr_origin", units="mm", normalise="joint")
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors").convention
    assert (again.center, again.units, again.normalise) == ("mr_origin", "mm", "joint")
    assert read_checkpoint(tmp_path / "model.safetensors").recipe.options["center"] == "mr_origin"


@torch.no_grad()
def test_a_batch_is_the_same_as_its_items(case):
    model, *crops = case
    alone = torch.cat([model(*(part[None] for part in item)) for item in zip(*crops, strict=True)])
    torch.testing.assert_close(model(*crops), alone, atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast_gives_finite_float32(case):
    model, *crops = case
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.train()(*crops)
    assert found.dtype == torch.float32
    found.square().sum().backward()
    assert found.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@torch.no_grad()
def test_a_gpu_says_the_same(case):
    model, *crops = case
    there = model.cuda()(*(part.cuda() for part in crops)).cpu()
    torch.testing.assert_close(there, model.cpu()(*crops), atol=1e-2, rtol=1e-2)


def test_refuses_crops_that_do_not_fit(case):
    model, fixed, moving, side = case
    sizes = ", ".join(str(n) for n in model.input_size)
    with pytest.raises(ValueError, match=rf"fixed: this network takes crops \(N, 1, {sizes}\), .*; resample"):
        model(fixed[..., :-1], moving, side)
    with pytest.raises(ValueError, match=rf"moving: this network takes crops \(N, 1, {sizes}\)"):
        model(fixed, moving.transpose(2, 4), side)
    with pytest.raises(ValueError, match="fixed: this network takes"):
        model(fixed[0], moving, side)
    with pytest.raises(ValueError, match="fixed: this network takes"):
        model(fixed.expand(2, 2, *fixed.shape[2:]), moving, side)
    with pytest.raises(ValueError, match="moving must be floating point"):
        model(fixed, moving.int(), side)
    with pytest.raises(ValueError, match=r"expected 2 crops like fixed and sides \(2, 3\) in mm, got 1 and"):
        model(fixed, moving[:1], side)
    with pytest.raises(ValueError, match=r"side_mm: expected .* got 2 and \(3,\)"):
        model(fixed, moving, side[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("option", "known"), [("center", "crop or mr_origin"), ("normalise", "joint or each"), ("units", "mm or crop")]
)
def test_refuses_unknown_conventions(name, option, known):
    with pytest.raises(ValueError, match=f"{option}: expected {known}, got 'other'"):
        create_model(name, **{option: "other"})
