"""What every registered deformable network must do, written once; test_all_rigid_models.py has the rigid ones."""

import pytest
import torch

from regcore.models import (
    RegistrationModel,
    RigidModel,
    create_model,
    dimension_option,
    list_models,
    load_model,
    model_info,
    save_model,
)

CASES = [(name, dimensions) for name in list_models("deformable") for dimensions in model_info(name).dimensions]
ODD = {2: (33, 30), 3: (33, 17, 30)}


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} {case[1]}D")
def case(request):
    """A network and a pair of an odd size, the same at every call."""
    name, dimensions = request.param
    torch.manual_seed(0)
    model = create_model(name, **dimension_option(name, dimensions)).eval()
    return model, *torch.rand(2, 2, 1, *ODD[dimensions])


@torch.no_grad()
def test_any_size_in_the_same_size_out(case):
    model, fixed, moving = case
    before = fixed.clone(), moving.clone()
    displacement = model(fixed, moving).displacement
    assert displacement.shape == (2, fixed.ndim - 2, *fixed.shape[2:])
    assert displacement.dtype == torch.float32
    assert torch.isfinite(displacement).all()
    assert torch.equal(fixed, before[0])
    assert torch.equal(moving, before[1])


def test_gradients_reach_every_trained_parameter(case):
    model, fixed, moving = case
    prediction = model.train()(fixed, moving)
    weights = torch.randn_like(prediction.displacement)
    (prediction.displacement * weights).sum().backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and parameter.numel()
        and (parameter.grad is None or not parameter.grad.any() or not parameter.grad.isfinite().all())
    ]
    assert not without


@torch.no_grad()
def test_saved_and_loaded_is_bit_equal(case, tmp_path):
    model, fixed, moving = case
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert not again.training
    assert again.recipe == model.recipe
    states = model.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(model(fixed, moving).displacement, again(fixed, moving).displacement)


@torch.no_grad()
def test_a_batch_is_the_same_as_its_items(case):
    model, fixed, moving = case
    together = model(fixed, moving).displacement
    alone = torch.cat([model(f[None], m[None]).displacement for f, m in zip(fixed, moving, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-4)


def test_bfloat16_autocast_gives_finite_results_and_float32_fields(case):
    model, fixed, moving = case
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = model(fixed, moving)
    assert prediction.displacement.dtype == torch.float32
    assert torch.isfinite(prediction.displacement).all()
    prediction.displacement.square().sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_a_gpu_finds_what_the_processor_finds(case):
    model, fixed, moving = case
    expected = model(fixed, moving).displacement
    found = model.cuda()(fixed.cuda(), moving.cuda()).displacement
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=1e-3)


def test_refuses_images_that_do_not_fit(case):
    model, fixed, moving = case
    with pytest.raises(ValueError, match=r"fixed must be \(N, 1, \*size\)"):
        model(fixed[0], moving)
    with pytest.raises(ValueError, match=r"moving must be \(N, 1, \*size\)"):
        model(fixed, moving.expand(2, 2, *moving.shape[2:]))
    with pytest.raises(ValueError, match="one shape"):
        model(fixed, moving[..., :-1])
    with pytest.raises(ValueError, match="floating point"):
        model(fixed, moving.int())


@pytest.mark.parametrize("name", list_models())
def test_information_is_complete(name):
    info = model_info(name)
    assert info.name == name
    assert set(info.dimensions) <= {2, 3}
    assert info.dimensions
    assert info.paper
    assert info.licence
    assert info.default_spacing_mm > 0
    model = create_model(name)
    assert isinstance(model, RigidModel if info.kind == "rigid" else RegistrationModel)
    if isinstance(model, RegistrationModel):
        assert model.size_multiple == info.size_multiple
