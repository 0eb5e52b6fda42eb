import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regcore.ops.contrast import matched


def images(seed=0, size=(24, 20, 22)):
    """Make an image of smooth patches between 0.1 and 0.9, nothing at its rim, and its rim."""
    torch.manual_seed(seed)
    coarse = torch.rand(1, 1, 5, 5, 5)
    image = 0.1 + 0.8 * torch.nn.functional.interpolate(coarse, size=size, mode="trilinear", align_corners=True)
    inside = torch.zeros_like(image)
    inside[..., 3:-3, 3:-3, 3:-3] = 1
    return image * inside, inside.bool()


def test_an_image_on_itself_stays_itself():
    image, _ = images()
    apart = (matched(image, image) - image).abs()
    assert apart.mean() < 0.003
    assert apart.max() < 0.1  # intensities that only a few voxels have


@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 3.0), st.booleans(), st.integers(0, 5))
def test_one_to_one_changes_of_the_moving_image_are_undone(gamma, inverted, seed):
    fixed, inside = images(seed)
    moving = torch.where(inside, (1 - fixed if inverted else fixed) ** gamma, 0)
    found = matched(moving, fixed)
    assert (found - fixed).abs().mean() < 0.03
    assert torch.equal(found == 0, ~inside)


def test_equals_the_means_of_equal_intensities():
    moving = torch.randint(1, 64, (1, 1, 40, 40, 40)) / 63
    fixed = torch.rand(1, 1, 40, 40, 40) * 0.2 + moving**2 * 0.8
    found = matched(moving, fixed)
    for step in (10, 30, 50):
        here = (moving * 63).round() == step
        assert found[here].std() < 1e-5
        assert abs(float(found[here].mean()) - float(fixed[here].mean())) < 0.02


def test_a_batch_equals_its_items_and_stays_within_the_fixed_range():
    first, second = (torch.rand(2, 1, 12, 10, 8) for _ in range(2))
    together = matched(first, second)
    alone = torch.cat([matched(a[None], b[None]) for a, b in zip(first, second, strict=True)])
    assert torch.equal(together, alone)
    assert together.min() >= second.min()
    assert together.max() <= second.max()


def test_images_that_do_not_meet_are_left_alone():
    moving, fixed = torch.zeros(2, 1, 1, 8, 8)
    moving[..., :4], fixed[..., 4:] = 0.5, 0.5
    assert torch.equal(matched(moving, fixed), moving)


def test_the_gradient_in_two_dimensions_is_the_slope_of_the_means():
    moving, fixed = torch.rand(2, 1, 1, 32, 32)
    moving.clamp_(0.05, 0.95).requires_grad_(True)
    found = matched(moving, fixed)
    (slope,) = torch.autograd.grad(found.sum(), moving)
    step = 1e-4
    # One voxel hardly changes the means.
    for place in ((3, 4), (20, 30), (31, 0)):
        changed = moving.detach().clone()
        changed[0, 0][place] += step
        moved = (matched(changed, fixed) - found.detach())[0, 0][place] / step
        assert abs(float(moved - slope[0, 0][place])) < 0.1 + 0.1 * abs(float(moved))
