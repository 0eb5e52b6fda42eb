"""What holds for each loss, whatever it measures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import regcore.losses
from regcore.losses import create_loss, list_losses

from .loss_inputs import EVERY, LARGE, SIMILARITIES, Case, noise

each_dimension = pytest.mark.parametrize("dim", [2, 3])
every_loss = pytest.mark.parametrize(("case", "dim"), [(c, d) for c in EVERY for d in c.dimensions], ids=str)
every_similarity = pytest.mark.parametrize("case", SIMILARITIES, ids=str)


def _leaves(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.clone().requires_grad_() for value in inputs)


def test_no_loss_is_forgotten() -> None:
    assert {case.name for case in EVERY} == set(list_losses())


@every_loss
def test_gradient_is_exact(case: Case, dim: int) -> None:
    inputs = _leaves(case.inputs(dim))
    loss = create_loss(case.name, **case.options)
    # Many inputs are checked along one random direction instead of one by one.
    many = sum(value.numel() for value in inputs) > 250
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=many)
    gradients = torch.autograd.grad(loss(*inputs), inputs)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


@every_loss
def test_batch_is_the_mean_of_its_items(case: Case, dim: int) -> None:
    inputs, loss = case.inputs(dim), create_loss(case.name, **case.options)
    items = [loss(*(value[i : i + 1] for value in inputs)) for i in range(len(inputs[0]))]
    torch.testing.assert_close(loss(*inputs), torch.stack(items).mean())


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_is_computed_in_float32(case: Case, dim: int, dtype: torch.dtype) -> None:
    inputs, loss = _leaves(tuple(value.to(dtype) for value in case.inputs(dim))), create_loss(case.name, **case.options)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(*inputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), loss(*(value.double() for value in inputs)), atol=2e-5, rtol=1e-4)
    found.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in inputs)


@every_loss
def test_inputs_are_left_as_they_were_and_the_result_is_a_scalar_of_float64(case: Case, dim: int) -> None:
    inputs = case.inputs(dim)
    kept = [value.clone() for value in inputs]
    found = create_loss(case.name, **case.options)(*inputs)
    assert found.shape == ()
    assert found.dtype == torch.float64
    assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True))


@pytest.mark.parametrize("name", list_losses())
def test_function_of_the_same_name_gives_the_same(name: str) -> None:
    case = next(case for case in EVERY if case.name == name)
    inputs = case.inputs(case.dimensions[0])
    function: Callable[..., Tensor] = getattr(regcore.losses, name)
    assert torch.equal(function(*inputs, **case.options), create_loss(name, **case.options)(*inputs))


@every_similarity
@each_dimension
def test_equal_images_give_the_minimum(case: Case, dim: int) -> None:
    warped, fixed = case.inputs(dim)
    loss = create_loss(case.name, **case.options)
    equal = loss(fixed, fixed)
    for share in (0.01, 0.1, 1.0):
        assert loss(fixed + share * (warped - fixed), fixed) > equal
    if case.name != "nmi":
        torch.testing.assert_close(equal, torch.zeros_like(equal), atol=1e-12, rtol=0)


@every_similarity
@each_dimension
def test_similarities_are_symmetric(case: Case, dim: int) -> None:
    warped, fixed = case.inputs(dim)
    loss = create_loss(case.name, **case.options)
    torch.testing.assert_close(loss(warped, fixed), loss(fixed, warped))


@every_similarity
@each_dimension
@pytest.mark.parametrize("values", [(0.0, 0.0), (0.3, 0.3), (0.2, 0.9), (1000.0, -7.0)])
def test_constant_images_give_finite_values_and_gradients(case: Case, dim: int, values: tuple[float, float]) -> None:
    warped, fixed = (torch.full((1, 1, *LARGE[dim]), value, requires_grad=True) for value in values)
    found = create_loss(case.name, **case.options)(warped, fixed)
    assert found.isfinite()
    assert found >= 0
    found.backward()
    for image in (warped, fixed):
        assert image.grad is not None
        assert image.grad.isfinite().all()


@every_similarity
@each_dimension
def test_full_mask_changes_nothing(case: Case, dim: int) -> None:
    warped, fixed = case.inputs(dim)
    loss = create_loss(case.name, **case.options)
    mask = torch.ones(len(fixed), 1, *fixed.shape[2:], dtype=torch.bool)
    torch.testing.assert_close(loss(warped, fixed, mask), loss(warped, fixed))


@every_similarity
@each_dimension
def test_every_item_of_a_batch_counts_the_same_whatever_its_mask(case: Case, dim: int) -> None:
    warped, fixed = case.inputs(dim)
    loss = create_loss(case.name, **case.options)
    mask = torch.ones(2, 1, *fixed.shape[2:])
    mask[1, :, 3:] = 0
    items = [loss(warped[i : i + 1], fixed[i : i + 1], mask[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(warped, fixed, mask), torch.stack(items).mean())


# The windows of these see a little of what surrounds the mask.
@pytest.mark.parametrize("case", [c for c in SIMILARITIES if c.name not in ("ssim", "mind_ssc")], ids=str)
@each_dimension
def test_what_lies_outside_the_mask_does_not_count(case: Case, dim: int) -> None:
    warped, fixed = case.inputs(dim)
    mask = torch.zeros(len(fixed), 1, *fixed.shape[2:])
    mask[:, :, 1:-1, 1:4] = 1
    loss = create_loss(case.name, **case.options)
    other = torch.where(mask > 0, warped, 1 - warped)
    torch.testing.assert_close(loss(other, fixed, mask), loss(warped, fixed, mask))
    assert not torch.isclose(loss(warped, fixed, mask), loss(warped, fixed))


@pytest.mark.parametrize("name", ["ssim", "mind_ssc"])
def test_mask_chooses_among_windows(name: str) -> None:
    warped, fixed = noise(1, 1, 30, 20), noise(1, 1, 30, 20, seed=1)
    warped[:, :, 15:] = fixed[:, :, 15:]
    mask = torch.zeros(1, 1, 30, 20)
    mask[:, :, 21:] = 1
    assert create_loss(name)(warped, fixed, mask) < 1e-12
    assert create_loss(name)(warped, fixed, 1 - mask) > 0.05


@every_similarity
def test_item_with_an_empty_mask_has_no_gradient(case: Case) -> None:
    warped, fixed = case.inputs(2)
    warped.requires_grad_()
    mask = torch.ones(2, 1, *fixed.shape[2:])
    mask[0] = 0
    create_loss(case.name, **case.options)(warped, fixed, mask).backward()
    assert warped.grad is not None
    assert warped.grad[0].abs().max() == 0
    assert warped.grad[1].abs().max() > 0


@every_similarity
def test_refuses_shapes_that_do_not_fit(case: Case) -> None:
    warped, fixed = case.inputs(2)
    loss = create_loss(case.name, **case.options)
    with pytest.raises(ValueError, match=r"warped: expected the shape of fixed, \(2, "):
        loss(warped[:1], fixed)
    with pytest.raises(ValueError, match="mask: expected shape"):
        loss(warped, fixed, torch.ones(2, 2, *fixed.shape[2:]))
