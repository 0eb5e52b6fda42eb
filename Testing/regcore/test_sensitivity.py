"""Sensitivity against central differences and against slopes worked out by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from regcore.models import create_model
from regcore.models.base import Prediction, RegistrationModel
from regcore.progress import Cancelled
from regcore.sensitivity import sensitivity, smoothed_length

from .sensitive_networks import Brightness, Smooth

SIZES = {2: (5, 6), 3: (3, 4, 5)}
SPACING = {2: (2.0, 0.5), 3: (2.0, 0.5, 1.5)}


def tiny(dimensions: int) -> tuple[Smooth, Tensor, Tensor]:
    torch.manual_seed(3)
    fixed, moving = torch.rand((2, 1, 1, *SIZES[dimensions]), dtype=torch.float64)
    return Smooth(dimensions).double().eval(), fixed, moving


def central(model: RegistrationModel, fixed: Tensor, moving: Tensor, of_fixed: bool, step: float = 1e-4) -> Tensor:
    """The slopes of the displacement, ``(D, *size, *size)``: by the voxels of one image, last."""
    size = fixed.shape[2:]
    columns = []
    with torch.no_grad():
        for place in itertools.product(*map(range, size)):
            ends = []
            for sign in (1, -1):
                change = torch.zeros_like(fixed)
                change[(0, 0, *place)] = sign * step
                ends.append(model(*((fixed + change, moving) if of_fixed else (fixed, moving + change))).displacement)
            columns.append((ends[0] - ends[1])[0] / (2 * step))
    return torch.stack(columns, dim=-1).unflatten(-1, size)


def in_mm(slopes: Tensor, dimensions: int) -> Tensor:
    return slopes * torch.tensor(SPACING[dimensions], dtype=slopes.dtype).view(-1, *[1] * (2 * dimensions))


@pytest.mark.parametrize(("dimensions", "voxel"), [(2, (0, 3)), (2, (4, 5)), (3, (1, 0, 4)), (3, (2, 2, 2))])
def test_of_one_voxel_it_is_the_length_of_central_differences(dimensions, voxel):
    model, fixed, moving = tiny(dimensions)
    found = sensitivity(model, fixed, moving, SPACING[dimensions], voxel=voxel)
    for squares, of_fixed in ((found.fixed, True), (found.moving, False)):
        slopes = in_mm(central(model, fixed, moving, of_fixed), dimensions)[(slice(None), *voxel)]
        torch.testing.assert_close(squares[0, 0], slopes.square().sum(dim=0), rtol=1e-6, atol=1e-12)
        assert float(squares.max()) > 1e-3


@pytest.mark.parametrize("dimensions", [2, 3])
def test_of_all_voxels_it_is_estimated_without_bias(dimensions):
    model, fixed, moving = tiny(dimensions)
    found = sensitivity(model, fixed, moving, SPACING[dimensions], draws=800)
    for squares, of_fixed in ((found.fixed, True), (found.moving, False)):
        slopes = in_mm(central(model, fixed, moving, of_fixed), dimensions)
        wanted = slopes.square().sum(dim=tuple(range(1 + dimensions)))
        # One voxel varies by 1.4 / sqrt(800) = 5 % of its square, the sum by much less.
        torch.testing.assert_close(squares[0, 0], wanted, rtol=0.25, atol=0)
        torch.testing.assert_close(squares.sum(), wanted.sum(), rtol=0.03, atol=0)


@pytest.mark.parametrize("draws", [1, 3])
def test_signs_are_scaled_to_a_mean_in_millimetres(draws):
    # Each number of this displacement hangs on one voxel alone, so that every sign gives the exact square.
    class Pointwise(RegistrationModel):
        def predict(self, fixed: Tensor, moving: Tensor) -> Prediction:
            return Prediction(torch.cat([0 * fixed, 0 * fixed, 3 * fixed.square() - moving], dim=1), {})

    fixed, moving = torch.rand(2, 2, 1, 3, 4, 5)
    found = sensitivity(Pointwise(3, 1).eval(), fixed, moving, (9.0, 9.0, 0.5), draws=draws)
    torch.testing.assert_close(found.fixed, (0.5 * 6 * fixed).square())
    torch.testing.assert_close(found.moving, torch.full_like(moving, 0.25))
    torch.testing.assert_close(found.displacement[:, 2:], 3 * fixed.square() - moving)


@pytest.mark.parametrize("voxel", [None, (2, 1, 3)])
@pytest.mark.parametrize(("shares", "looked"), [((1, 0), "fixed"), ((0, 1), "moving"), ((0, 0), "")])
def test_an_image_that_is_not_looked_at_gets_exact_zeros(shares, looked, voxel):
    fixed, moving = torch.rand(2, 1, 1, 4, 5, 6)
    found = sensitivity(Brightness(3, *shares).eval(), fixed, moving, (1.0, 1.0, 1.0), voxel=voxel)
    assert bool(found.fixed.any()) == (looked == "fixed")
    assert bool(found.moving.any()) == (looked == "moving")


@pytest.mark.parametrize("voxel", [None, (1, 2, 3)])
@pytest.mark.parametrize("outer", [torch.inference_mode, torch.no_grad])
def test_what_runs_around_it_and_parameters_do_not_matter(outer, voxel):
    torch.manual_seed(0)
    model = create_model("pan").eval()
    model.stem.weight.requires_grad_(False)
    model.encoder[0].first.convolution.weight.grad = torch.ones_like(model.encoder[0].first.convolution.weight)
    before = {key: (value.clone(), value.requires_grad, value.grad) for key, value in model.named_parameters()}
    fixed, moving = torch.rand(2, 1, 1, 16, 16, 16)
    plain = sensitivity(model, fixed, moving, (1.0, 1.0, 1.0), voxel=voxel, draws=2)
    with outer():
        inside = sensitivity(model, fixed.clone(), moving.clone(), (1.0, 1.0, 1.0), voxel=voxel, draws=2)
    for one, other in zip(plain.__dict__.values(), inside.__dict__.values(), strict=True):
        assert not one.requires_grad
        assert torch.equal(one, other)
    for key, value in model.named_parameters():
        assert torch.equal(value, before[key][0])
        assert (value.requires_grad, value.grad) == before[key][1:]


def test_the_way_back_is_the_same_each_time():
    # Networks that write over what they keep for the way back would give other slopes the second time.
    torch.manual_seed(0)
    model = create_model("pan").eval()
    fixed, moving = torch.rand(2, 1, 1, 16, 16, 16)
    found = sensitivity(model, fixed, moving, (1.0, 1.0, 1.0), voxel=(8, 8, 8))
    wanted = torch.zeros_like(fixed)
    for axis in range(3):
        image = fixed.clone().requires_grad_()
        model(image, moving).displacement[0, axis, 8, 8, 8].backward()
        wanted += image.grad.square()
    torch.testing.assert_close(found.fixed, wanted)


def test_each_of_a_batch_has_its_own_slopes():
    model, fixed, moving = tiny(2)
    fixed, moving = torch.cat([fixed, moving]), torch.cat([moving, 0.3 * fixed])
    together = sensitivity(model, fixed, moving, (1.0, 1.0), voxel=(2, 2))
    for n in range(2):
        alone = sensitivity(model, fixed[n : n + 1], moving[n : n + 1], (1.0, 1.0), voxel=(2, 2))
        torch.testing.assert_close(together.fixed[n : n + 1], alone.fixed)
        torch.testing.assert_close(together.moving[n : n + 1], alone.moving)


def test_the_seed_decides():
    model, fixed, moving = tiny(2)
    one, same, other = (sensitivity(model, fixed, moving, (1.0, 1.0), draws=2, seed=seed).fixed for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_progress_rises_and_what_it_raises_ends_the_work():
    model, fixed, moving = tiny(2)
    told: list[float] = []
    sensitivity(model, fixed, moving, (1.0, 1.0), draws=4, report=lambda fraction, message: told.append(fraction))
    assert told == sorted(told)
    assert 0 <= told[0] < told[-1] < 1
    assert len(told) >= 4

    calls = 0

    def stop(fraction: float, message: str) -> None:
        nonlocal calls
        calls += 1
        if message.startswith("slope 2"):
            raise Cancelled

    with pytest.raises(Cancelled):
        sensitivity(model, fixed, moving, (1.0, 1.0), draws=1000, report=stop)
    assert calls < 10


def test_smoothing_keeps_what_is_even_and_the_sum_of_squares():
    even = smoothed_length(torch.full((1, 1, 7, 8), 9.0), 1.5)
    torch.testing.assert_close(even, torch.full((1, 1, 7, 8), 3.0))
    spike = torch.zeros(1, 1, 41, 41)
    spike[0, 0, 20, 20] = 4
    found = smoothed_length(spike, (2.0, 1.0))
    torch.testing.assert_close(found.square().sum(), torch.tensor(4.0))
    assert int(found.argmax()) == 20 * 41 + 20
    assert float(found[0, 0, 22, 20]) > float(found[0, 0, 20, 22])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": Smooth(2)}, "evaluation mode"),
        ({"draws": 0}, "draws: expected at least 1, got 0"),
        ({"voxel": (0, 6)}, r"voxel: expected a voxel \(k, j, i\) of the image \(5, 6\)"),
        ({"voxel": (0, 0, 0)}, "voxel: expected"),
        ({"voxel": (-1, 0)}, "voxel: expected"),
    ],
)
def test_bad_arguments(change, words):
    model, fixed, moving = tiny(2)
    given = {"model": model, "fixed": fixed, "moving": moving, "spacing": (1.0, 1.0), **change}
    with pytest.raises(ValueError, match=words):
        sensitivity(**given)


def test_damaged_weights():
    model, fixed, moving = tiny(2)
    model.layers[0].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite; check the weights"):
        sensitivity(model, fixed, moving, (1.0, 1.0))
