"""Grad-CAM against its formula worked out with hooks, and attention against the softmax it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from regcore.explain import attention_of, grad_cam, upsampled
from regcore.models import create_model
from regcore.models.attention_reg import AttentionReg
from regcore.models.base import NOMINAL_SIDE_MM, Convention, normalised

SIZE = (4, 16, 12)
SIDES = torch.tensor([[50.0, 60.0, 80.0]])
CHOICES = [(mode, branch) for mode in ("activations", "weights") for branch in ("fixed", "moving")]
TARGETS = ("all", 0, 1, 2, 3, 4, 5)


# With this seed no map is empty, whatever the mode, branch and target.
def tiny(attention: bool = True, units: str = "crop", seed: int = 12) -> AttentionReg:
    torch.manual_seed(seed)
    model = AttentionReg(SIZE, Convention("image", "crop", "joint", units), attention=attention)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def crops(count: int = 1, size: tuple[int, int, int] = SIZE, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    fixed, moving = torch.rand((2, count, 1, *size), generator=generator)
    return fixed, moving


def score(found: Tensor, target: str | int) -> Tensor:
    return found.square().sum() if target == "all" else found[0, target]


def by_hooks(model: AttentionReg, fixed: Tensor, moving: Tensor, branch: str, mode: str, target: str | int) -> Tensor:
    """The map on the features' own lattice, from one whole run of a copy of the model, forwards and backwards."""
    model = copy.deepcopy(model)
    caught: list[Tensor] = []

    def catch(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        inputs[0].retain_grad()
        caught.append(inputs[0])

    model.fuse.register_forward_pre_hook(catch)
    score(model(fixed, moving, SIDES), target).backward()
    half = slice(0, 32) if branch == "fixed" else slice(32, 64)
    features = caught[0].detach()[0, half]
    if mode == "activations":
        alpha = caught[0].grad[0, half].mean(dim=(1, 2, 3))
    else:
        path = model.fixed_path if branch == "fixed" else model.moving_path
        alpha = path[4].weight.grad.mean(dim=(1, 2, 3, 4))
    found = torch.zeros(features.shape[1:])
    for channel in range(32):
        found += alpha[channel] * features[channel]
    found = found.clamp_min(0)
    return (found - found.min()) / (found.max() - found.min())


@pytest.mark.parametrize(("mode", "branch"), CHOICES)
@pytest.mark.parametrize("target", TARGETS)
def test_maps_are_the_formula(mode, branch, target):
    model, (fixed, moving) = tiny(), crops()
    wanted = by_hooks(model, fixed, moving, branch, mode, target)
    found = grad_cam(model, fixed, moving, SIDES, branch=branch, mode=mode, target=target)
    assert found.shape == (1, *SIZE)
    # Feature o lies over voxel (2, 4, 4) o, where nothing is interpolated.
    torch.testing.assert_close(found[0, ::2, ::4, ::4], wanted, atol=1e-4, rtol=0)
    assert wanted.max() == 1


@pytest.mark.parametrize(
    ("make", "choices"),
    [
        # Of the paper's size each mode once: it is slow.
        (lambda: create_model("attention-reg"), [CHOICES[0], CHOICES[3]]),
        (lambda: create_model("attention-reg-label-small"), CHOICES),
        (lambda: tiny(attention=False), CHOICES),
    ],
    ids=["paper", "small", "feature"],
)
def test_shapes_signs_and_untouched_parameters(make, choices):
    torch.manual_seed(0)
    model = make().eval()
    model.fixed_path[4].weight.requires_grad_(False)
    model.head[0].weight.grad = torch.full_like(model.head[0].weight, 0.5)
    before = {key: (value.clone(), value.requires_grad) for key, value in model.named_parameters()}
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    fixed, moving = crops(1, model.input_size)
    for mode, branch in choices:
        found = grad_cam(model, fixed, moving, SIDES, branch=branch, mode=mode)
        assert found.shape == (1, *model.input_size)
        assert not found.requires_grad
        assert bool(torch.isfinite(found).all())
        assert (float(found.min()), float(found.max())) in ((0.0, 1.0), (0.0, 0.0))
    for key, value in model.named_parameters():
        assert torch.equal(value, before[key][0])
        assert value.requires_grad == before[key][1]
        assert (value.grad is not None) == (key == "head.0.weight")
    assert bool((model.head[0].weight.grad == 0.5).all())
    assert all(torch.equal(value, buffers[key]) for key, value in model.named_buffers())


@pytest.mark.parametrize("outer", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("mode", ["activations", "weights"])
def test_maps_do_not_depend_on_what_runs_around_them(outer, mode):
    model = tiny()
    plain = grad_cam(model, *crops(), SIDES, branch="moving", mode=mode)
    with outer():
        inside = grad_cam(model, *crops(), SIDES.clone(), branch="moving", mode=mode)
        assert torch.is_inference_mode_enabled() == (outer is torch.inference_mode)
    torch.testing.assert_close(inside.clone(), plain)


@pytest.mark.parametrize(("mode", "branch"), CHOICES)
def test_each_of_a_batch_is_mapped_alone(mode, branch):
    model, (fixed, moving) = tiny(), crops(2)
    sides = torch.cat([SIDES, 0.5 * SIDES])
    together = grad_cam(model, fixed, moving, sides, branch=branch, mode=mode)
    alone = [
        grad_cam(model, fixed[n : n + 1], moving[n : n + 1], sides[n : n + 1], branch=branch, mode=mode)
        for n in range(2)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_target_is_in_millimetres():
    # Sides a hundred times the nominal ones make translations rule the sum; the sum of their squares alone
    # then has the map that the sum of all six has.
    model, (fixed, moving) = tiny(), crops()
    long = torch.full((1, 3), 100 * NOMINAL_SIDE_MM)
    with_all = grad_cam(model, fixed, moving, long, branch="fixed")
    model.head[4].weight.data[3:] = 0
    model.head[4].bias.data[3:] = 0
    torch.testing.assert_close(grad_cam(model, fixed, moving, long, branch="fixed"), with_all, atol=1e-2, rtol=0)
    nominal = torch.full((1, 3), NOMINAL_SIDE_MM)
    short = grad_cam(tiny(), fixed, moving, nominal / 1000, branch="fixed")
    assert float((short - with_all).abs().max()) > 0.05


def test_a_map_without_anything_is_zero():
    model = tiny()
    for parameter in model.head.parameters():
        parameter.data.zero_()
    found = grad_cam(model, *crops(), SIDES, branch="fixed")
    assert torch.equal(found, torch.zeros(1, *SIZE))


def test_upsampling_puts_a_feature_over_the_voxels_it_was_pooled_from():
    pooled = torch.nn.Sequential(torch.nn.MaxPool3d(3, 2, 1), torch.nn.MaxPool3d(3, (1, 2, 2), 1))
    volume = torch.zeros(1, 1, 12, 32, 32)
    volume[0, 0, 4, 12, 20] = 1
    index = torch.nonzero(upsampled(pooled(volume), (12, 32, 32))[0]).float()
    weight = upsampled(pooled(volume), (12, 32, 32))[0][tuple(index.long().T)]
    centre = (index * weight[:, None]).sum(dim=0) / weight.sum()
    torch.testing.assert_close(centre, torch.tensor([4.0, 12.0, 20.0]))


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 2, 1), (1, 3, 2)])
def test_attention_is_the_softmax_of_query_and_key(place):
    model, (fixed, moving) = tiny(), crops(2)
    position = tuple(p * step for p, step in zip(place, (2, 4, 4), strict=True))
    over_moving, over_fixed = attention_of(model, fixed, moving, position)
    still, moved = model.extract(*normalised(fixed, moving, "joint"))
    for found, block, primary, cross in (
        (over_moving, model.blocks[1], moved, still),
        (over_fixed, model.blocks[0], still, moved),
    ):
        assert found.shape == (2, *SIZE)
        coarse = found[:, ::2, ::4, ::4]
        torch.testing.assert_close(coarse.sum(dim=(1, 2, 3)), torch.ones(2))
        query = block.query(cross)[(slice(None), slice(None), *place)]
        logits = torch.einsum("nc,nczyx->nzyx", query, block.key(primary))
        torch.testing.assert_close(coarse.flatten(1), logits.flatten(1).softmax(dim=1))


def test_attention_finds_the_same_thing_elsewhere():
    model = tiny()
    model.moving_path.load_state_dict(model.fixed_path.state_dict())
    for block in model.blocks:
        for layer in (block.query, block.key):
            layer.weight.data = 3 * torch.eye(16, 32).view(16, 32, 1, 1, 1)
            layer.bias.data.zero_()
    fixed, moving = torch.zeros(2, 1, 1, *SIZE)
    fixed[0, 0, 2, 4, 8] = 1
    moving[0, 0, 0, 12, 4] = 1
    over_moving, _ = attention_of(model, fixed, moving, (2, 4, 8))
    _, over_fixed = attention_of(model, fixed, moving, (0.4, 11.2, 5.4))
    # Along z either of the two features sees the whole of so thin a crop.
    peaks = [tuple(int(p) for p in torch.nonzero(m[0, 0] == m.max())[0]) for m in (over_moving, over_fixed)]
    assert peaks == [(12, 4), (4, 8)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"branch": "left"}, "branch: expected fixed or moving"),
        ({"mode": "guided"}, "mode: expected activations or weights"),
        ({"target": 6}, "target: expected all or a number from 0 to 5"),
        ({"target": "tx"}, "target: expected all"),
        ({"fixed": torch.rand(1, 1, 4, 16, 16)}, "fixed: expected a floating point crop"),
        ({"moving": torch.rand(2, 1, *SIZE)}, "moving: expected a floating point crop"),
        ({"moving": torch.ones(1, 1, *SIZE, dtype=torch.int64)}, "int64"),
        ({"side_mm": torch.ones(3)}, "side_mm: expected"),
        ({"model": tiny().train()}, "evaluation mode"),
    ],
)
def test_bad_arguments(change, words):
    fixed, moving = crops()
    given = {"model": tiny(), "fixed": fixed, "moving": moving, "side_mm": SIDES, "branch": "fixed", **change}
    with pytest.raises(ValueError, match=words):
        grad_cam(**given)


@pytest.mark.parametrize("position", [(4, 0, 0), (0, -1, 0), (0, 0)])
def test_position_outside_the_crop(position):
    with pytest.raises(ValueError, match="position: expected a voxel"):
        attention_of(tiny(), *crops(), position)


def test_no_attention_without_blocks():
    with pytest.raises(ValueError, match="no attention to show"):
        attention_of(tiny(attention=False), *crops(), (0, 0, 0))
