import pytest
import torch
import torch.nn.functional as F

from regcore.models import create_model
from regcore.models.caml import CAML
from regcore.models.layers import patches, window_attention
from regcore.models.layers.cross_attention import swap
from regcore.ops.fields import compose, jacobian_determinant
from regcore.ops.sampling import identity_coordinates, warp

BASE = {"cross_levels": "none", "residual_skips": False, "cascade": False}
SMALL = {"channels": 32, "depths": (1, 1, 1, 1), "heads": (2, 4, 8, 16)}


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        (BASE, 14_806_659),
        (BASE | {"cross_levels": "finer"}, 15_345_411),
        (BASE | {"residual_skips": True}, 17_420_739),
        (BASE | {"cascade": True, "bottleneck": False}, 25_385_619),
        ({"bottleneck": False}, 28_538_451),
        (SMALL | {"bottleneck": False}, 8_857_379),
        ({}, 20_898_003),
        (SMALL, 5_461_539),
    ],
)
def test_number_of_parameters(options, parameters):
    with torch.device("meta"):
        model = create_model("caml", **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_presets():
    with torch.device("meta"):
        small, half, full = (create_model(name) for name in ("caml-small", "caml-half", "caml"))
        alike = create_model("caml", **SMALL)
    shapes = [{name: p.shape for name, p in model.named_parameters()} for model in (small, alike, half, full)]
    assert shapes[0] == shapes[1]
    assert shapes[2] == shapes[3]
    assert half.half_resolution
    assert not full.half_resolution


def tiny(strength=0.0, **options):
    """Make a CAML of 16 channels and one module per level; the displacement is about ``strength`` voxels long."""
    torch.manual_seed(0)
    model = CAML(16, (1, 1, 1, 1), (1, 2, 4, 8), **options).eval()
    if strength:
        torch.nn.init.normal_(model.network.head.convolution.weight, std=0.1 * strength)
    return model


def pair(size=(36, 24, 20), batch=1):
    """Make two smooth images."""
    torch.manual_seed(1)
    coarse = torch.rand(2, batch, 6, 5, 4)
    fixed, moving = F.interpolate(coarse, size=size, mode="trilinear", align_corners=True).unsqueeze(2)
    return fixed, moving


@torch.no_grad()
def test_identity_at_the_start():
    fixed, moving = pair()
    displacement = tiny()(fixed, moving).displacement
    assert displacement.any()
    assert displacement.abs().max() < 1e-3
    torch.testing.assert_close(warp(moving, displacement), moving, atol=1e-3, rtol=0)


@torch.no_grad()
def test_without_the_cascade_it_is_one_pass():
    fixed, moving = pair()
    both, once = tiny(1.0), tiny(cascade=False)
    once.load_state_dict({name: both.state_dict()[name] for name in once.state_dict()})
    prediction = once(fixed, moving)
    assert not prediction.penalties
    torch.testing.assert_close(prediction.displacement, both.network(moving, fixed)[0])


@torch.no_grad()
def test_the_second_pass_starts_as_a_plain_repetition():
    fixed, moving = pair()
    model = tiny(1.0)
    first, features = model.network(moving, fixed)
    warped = warp(moving, first)
    plain, carried = model.network(warped, fixed)[0], model.network(warped, fixed, features)[0]
    torch.testing.assert_close(model(fixed, moving).displacement, compose(carried, first))
    assert 0 < (carried - plain).norm() < 0.01 * plain.norm()
    for gate in model.network.gates:
        gate.zero_()
    assert torch.equal(model.network(warped, fixed, features)[0], plain)


class Steps(torch.nn.Module):
    """Stands in for the network: gives one displacement after the other, of the moving image it is shown."""

    def __init__(self, *steps):
        super().__init__()
        self.steps, self.seen = list(steps), []

    def forward(self, moving, fixed, carried=None):
        self.seen.append(moving)
        step = self.steps.pop(0)
        return (step(moving) if callable(step) else step), []


def smooth_field(size, amplitude):
    return F.interpolate(torch.randn(1, 3, 3, 3, 3), size=size, mode="trilinear", align_corners=True) * amplitude


@torch.no_grad()
def test_one_warp_with_the_sum_is_two_warps():
    model, size = tiny(), (36, 24, 20)
    first, second = smooth_field(size, 2.0), smooth_field(size, 1.5)
    moving = sum(torch.sin(axis / 8) for axis in identity_coordinates(size, first)[0])[None, None]
    model.network = Steps(first, second)
    warped = warp(moving, model(moving, moving).displacement)
    once = warp(moving, first)
    assert torch.equal(model.network.seen[1], once)
    twice = warp(once, second)
    inside = (..., *(slice(4, -4),) * 3)
    other_way, added = warp(moving, compose(first, second)), warp(moving, first + second)
    assert (warped - twice)[inside].abs().max() < 0.02
    assert (other_way - twice)[inside].abs().max() > 0.1
    assert (added - twice)[inside].abs().max() > 0.1


def test_the_first_pass_learns_from_the_second():
    fixed, moving = pair()
    model = tiny()
    first = torch.zeros(1, 3, *fixed.shape[2:]) + 0.25
    first.requires_grad_()
    model.network = Steps(first, lambda image: image.expand(-1, 3, -1, -1, -1))
    model(fixed, moving).penalties["smoothness_second"].backward()
    assert first.grad.any()


@torch.no_grad()
def test_the_penalties_are_the_smoothness_of_both_passes():
    fixed, moving = pair()
    model, size = tiny(), fixed.shape[2:]
    field = smooth_field(size, 1.0)
    model.network = Steps(field, torch.ones_like(field))
    penalties = model(fixed, moving).penalties
    by_axis = [field.diff(dim=axis).square().mean() for axis in (2, 3, 4)]
    torch.testing.assert_close(penalties["smoothness_first"], sum(by_axis) / 3)
    assert penalties["smoothness_second"] == 0


@torch.no_grad()
@pytest.mark.parametrize("cross_levels", ["none", "finer", "all_finer"])
def test_the_streams_share_everything(cross_levels):
    network = tiny(cross_levels=cross_levels).network
    fixed, moving = pair()
    features, other_way = network(moving, fixed)[1], network(fixed, moving)[1]
    assert [len(pooled) for pooled in network.finer] == {
        "none": [0, 0, 0, 0],
        "finer": [0, 1, 1, 1],
        "all_finer": [0, 1, 2, 3],
    }[cross_levels]
    for level, swapped in zip(features, other_way, strict=True):
        torch.testing.assert_close(swap(level), swapped, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"cross_levels": "all_finer", "merge": "sequential"},
        {"cross_levels": "all_finer", "merge": "concat", "bottleneck": False},
        {"cross_levels": "none", "cascade": False, "window": 4, "magnification": 2},
        {"residual_skips": False, "half_resolution": True, "diffeomorphic": True},
        {"patch": 2, "match_contrast": True},
    ],
    ids=str,
)
def test_gradients_reach_every_parameter_whatever_the_options(options):
    model = tiny(**options)
    displacement = model(*pair()).displacement
    (displacement * torch.randn_like(displacement)).sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("size", [(1, 1, 1), (4, 4, 33), (7, 21, 10), (37, 5, 9)], ids=str)
@pytest.mark.parametrize("half_resolution", [False, True])
def test_takes_any_size_and_trains_on_it(size, half_resolution):
    model = tiny(1.0, half_resolution=half_resolution).train()
    fixed, moving = torch.rand(2, 1, 1, *size)
    displacement = model(fixed, moving).displacement
    assert displacement.shape == (1, 3, *size)
    displacement.square().sum().backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert gradients.isfinite().all()


@torch.no_grad()
def test_padding_is_at_the_high_end():
    model = tiny(1.0)
    fixed, moving = pair()
    fixed[..., 18:] = moving[..., 18:] = 0
    whole = model(fixed, moving).displacement
    part = model(fixed[..., :18], moving[..., :18]).displacement
    torch.testing.assert_close(part, whole[..., :18])


@torch.no_grad()
def test_in_pieces_it_is_the_same(monkeypatch):
    model = tiny(1.0).double()
    fixed, moving = (image.double() for image in pair())
    monkeypatch.setattr(window_attention, "_CACHED", 2**40)
    monkeypatch.setattr(patches, "_VOXELS", 2**40)
    whole = model(fixed, moving).displacement
    monkeypatch.setattr(window_attention, "_CACHED", 1)
    monkeypatch.setattr(patches, "_VOXELS", 1)
    torch.testing.assert_close(model(fixed, moving).displacement, whole)


def test_checkpoints_change_no_gradient():
    gradients = []
    for checkpoint in (False, True):
        model = tiny(1.0, checkpoint=checkpoint).train()
        torch.manual_seed(2)
        displacement = model(*pair()).displacement
        displacement.square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        assert torch.linalg.vector_norm(plain - again) <= 1e-4 * torch.linalg.vector_norm(plain) + 1e-9


@torch.no_grad()
def test_training_skips_blocks_and_evaluation_none():
    model = tiny(1.0, stochastic_depth=0.9)
    images = pair()
    always = model(*images).displacement
    assert torch.equal(model(*images).displacement, always)
    model.train()
    assert not torch.equal(model(*images).displacement, model(*images).displacement)


@torch.no_grad()
def test_half_resolution_speaks_of_whole_voxels():
    fixed, moving = pair((72, 24, 32))
    model = tiny(half_resolution=True, cascade=False)
    size = [n // 2 for n in fixed.shape[2:]]
    # At voxel x of the whole grid the half-size grid has the coordinate (x - 1/2) / 2.
    model.network = Steps(0.1 * torch.arange(float(size[0])).view(1, 1, -1, 1, 1).expand(1, 3, *size))
    displacement = model(fixed, moving).displacement
    assert displacement.shape == (1, 3, *fixed.shape[2:])
    expected = 0.1 * (torch.arange(float(fixed.shape[2])) - 0.5)
    inside = displacement[0, :, 1:-1]
    torch.testing.assert_close(inside, expected[1:-1].view(1, -1, 1, 1).expand_as(inside))
    assert model.network.seen[0].shape[2:] == torch.Size(size)
    torch.testing.assert_close(model.network.seen[0], F.avg_pool3d(moving, 2))


@torch.no_grad()
@pytest.mark.parametrize("patch", [1, 2, 3])
def test_smaller_patches_take_any_size(patch):
    model = tiny(1.0, patch=patch)
    fixed, moving = torch.rand(2, 1, 1, 13, 10, 7)
    assert model.size_multiple == patch
    assert model(fixed, moving).displacement.shape == (1, 3, 13, 10, 7)


@torch.no_grad()
def test_with_matched_contrast_bright_for_dark_changes_little():
    fixed, moving = (0.1 + 0.8 * image for image in pair())
    plain, matching = tiny(1.0), tiny(1.0, match_contrast=True)
    differences = []
    for model in (plain, matching):
        way, inverted = (model(fixed, image).displacement for image in (moving, 1 - moving))
        differences.append(float((way - inverted).norm() / way.norm()))
    assert differences[1] < 0.1 * differences[0]


@torch.no_grad()
def test_the_diffeomorphic_form_does_not_fold():
    torch.manual_seed(0)
    fixed, moving = torch.rand(2, 1, 1, 36, 24, 20)
    size = fixed.shape[2:]
    velocities = [F.interpolate(torch.randn(1, 3, 6, 6, 6) * 2, size=size, mode="trilinear") for _ in range(2)]
    folds = []
    for diffeomorphic in (False, True):
        model = tiny(diffeomorphic=diffeomorphic)
        model.network = Steps(*velocities)
        folds.append(int((jacobian_determinant(model(fixed, moving).displacement) <= 0).sum()))
    assert folds[0] > 1000
    assert folds[1] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": (1, 1)}, "depths and heads must be"),
        ({"depths": (2, 2, 0, 2)}, "depths and heads must be"),
        ({"channels": 18}, "channels must be a multiple of 4"),
        ({"heads": (5, 6, 12, 24)}, "channels must be a multiple of 4"),
        ({"cross_levels": "coarser"}, "none, finer, all_finer"),
        ({"merge": "sum"}, "mean, sequential, concat"),
        ({"stochastic_depth": 1.0}, "stochastic_depth must be"),
        ({"patch": 0}, "patch must be positive"),
        ({"window": 3, "magnification": 2}, "window and magnification"),
    ],
)
def test_refuses_wrong_options(options, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        create_model("caml", **options)
