from dataclasses import replace

import pytest
import torch

from regcore.ops.fields import compose, jacobian_determinant
from regcore.ops.sampling import identity_coordinates, warp
from regcore.ops.smoothing import gaussian
from regcore.progress import Cancelled
from regcore.refine import RefineOptions, refine

QUICK = RefineOptions(iterations=(15, 15, 8))


def noise(channels, shape, seed):
    return torch.randn(1, channels, *shape, generator=torch.Generator().manual_seed(seed))


def ball(shape, margin=8):
    """Texture on background 0, within an ellipsoid."""
    half = torch.tensor([n / 2 for n in shape]).view(1, -1, *[1] * len(shape))
    centred = (identity_coordinates(shape, torch.zeros(1)) - half + 0.5) / (half - margin)
    body = torch.sigmoid((1 - centred.square().sum(1, keepdim=True).sqrt()) * 12)
    fine, coarse = gaussian(noise(1, shape, 1), 1.5), gaussian(noise(1, shape, 2), 4.0)
    image = (0.6 + 0.12 * fine / fine.std() + 0.12 * coarse / coarse.std()).clamp(0.1, 1.2) * body
    return image * (body > 0.05)


def deformation(shape, size=3.0):
    field = gaussian(noise(len(shape), shape, 3), 7.0)
    return field / field.norm(dim=1).max() * size


def make_pair(shape, size=3.0):
    """Return fixed, moving and the displacement that takes fixed points to moving points."""
    moving, truth = ball(shape), deformation(shape, size)
    return warp(moving, truth), moving, truth


def error(found, truth, fixed):
    inside = fixed[:, 0] > 0.3
    return float((found - truth).norm(dim=1)[inside].mean())


@pytest.mark.parametrize("shape", [(49, 56, 51), (91, 84)])
def test_a_known_deformation_is_recovered_without_folds(shape):
    fixed, moving, truth = make_pair(shape)
    found = refine(fixed, moving, options=QUICK)
    assert found.shape == truth.shape
    assert error(found, truth, fixed) < 0.25 * error(0 * truth, truth, fixed)
    assert (jacobian_determinant(found) > 0).all()


@pytest.mark.parametrize("shape", [(48, 52, 50), (90, 86)])
def test_mind_recovers_it_with_inverted_contrast(shape):
    fixed, moving, truth = make_pair(shape)
    found = refine(fixed, 1.3 - moving, options=replace(QUICK, similarity="mind"))
    assert error(found, truth, fixed) < 0.3 * error(0 * truth, truth, fixed)
    assert (jacobian_determinant(found) > 0).all()


@pytest.mark.parametrize("similarity", ["lncc", "mind"])
def test_equal_images_stay_where_they_are(similarity):
    image = ball((40, 42, 44))
    found = refine(image, image, options=replace(QUICK, similarity=similarity))
    assert found.abs().max() < 0.05


def test_images_without_content_stay_where_they_are():
    empty = torch.zeros(1, 1, 20, 21)
    assert not refine(empty, empty).any()


def test_it_goes_on_from_an_initial_displacement():
    fixed, moving, truth = make_pair((50, 52, 49), size=4.0)
    start = truth + deformation((50, 52, 49), 3.0).flip(2)
    finer = replace(QUICK, iterations=(0, 10, 8))
    found = refine(fixed, moving, start, options=finer)
    assert error(found, truth, fixed) < 0.4 * error(start, truth, fixed)
    assert (jacobian_determinant(found) > 0).all()


def test_no_iterations_return_the_initial_displacement():
    fixed, moving, truth = make_pair((30, 33))
    none = RefineOptions(iterations=(0, 0))
    assert torch.equal(refine(fixed, moving, truth, options=none), truth)
    assert not refine(fixed, moving, options=none).any()


def test_the_same_twice_and_alone_as_in_a_batch():
    fixed, moving, _ = make_pair((40, 41, 43))
    once = refine(fixed, moving, options=QUICK)
    assert torch.equal(refine(fixed, moving, options=QUICK), once)
    batch = refine(torch.cat([moving, fixed]), torch.cat([fixed, moving]), options=QUICK)
    assert torch.equal(batch[1:], once)


def test_the_finest_level_may_be_coarser_than_the_grid():
    fixed, moving, truth = make_pair((47, 50, 53))
    found = refine(fixed, moving, options=replace(QUICK, finest=2, iterations=(15, 15)))
    assert error(found, truth, fixed) < 0.4 * error(0 * truth, truth, fixed)


def test_thin_axes_and_thick_voxels():
    fixed, moving, truth = make_pair((12, 70, 73), size=2.0)
    truth[:, 0] = 0
    fixed = warp(moving, truth)
    found = refine(fixed, moving, options=QUICK, spacing=(5.0, 1.0, 1.0))
    assert error(found[:, 1:], truth[:, 1:], fixed) < 0.5 * error(0 * truth, truth, fixed)
    assert (jacobian_determinant(found) > 0).all()


def test_masks_keep_the_rest_still():
    fixed, moving, truth = make_pair((60, 60))
    mask = torch.zeros_like(fixed)
    mask[:, :, :20] = 1
    for masks in ({"fixed_mask": mask}, {"moving_mask": mask}):
        found = refine(fixed, moving, options=replace(QUICK, iterations=(15, 8)), **masks)
        assert found[:, :, :18].abs().max() > 0.5
        assert found[:, :, 40:].abs().max() < 0.05
    assert truth[:, :, 40:].abs().max() > 0.5


def test_progress_rises_to_one():
    fixed, moving, _ = make_pair((40, 42))
    seen: list[float] = []
    refine(fixed, moving, options=QUICK, progress=lambda fraction, _: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_cancelling_stops_at_once():
    fixed, moving, _ = make_pair((40, 42))
    seen: list[float] = []
    with pytest.raises(Cancelled):
        refine(fixed, moving, progress=lambda f, _: seen.append(f), cancelled=lambda: len(seen) >= 3)
    assert len(seen) == 3


def test_it_resembles_composition():
    """Update and displacement are composed to first order: exact composition is the reference."""
    from regcore.greedy import GreedyLevel

    class Push:
        reach, weak, voxels = 1, 0.0, 1.0

        def __call__(self, warped, rows):
            return push[:, :, rows], warped * 0

    shape = (24, 25, 26)
    push, start = deformation(shape, 0.5), deformation(shape, 2.0).flip(3)
    level = GreedyLevel(Push(), ball(shape), start, aspect=[1.0] * 3, update_sigma=0.0, field_sigma=0.0)
    level.iterate(0.5)
    inside = (..., *[slice(2, -2)] * 3)
    torch.testing.assert_close(level.displacement[inside], compose(push, start)[inside], atol=0.05, rtol=0)
