from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.grid import Grid
from regcore.image import Image
from regcore.ops.smoothing import gaussian
from regcore.rigid_fit import InformationLikeness, Likeness, MindLikeness, better, fit
from regcore.rigid_view import View, lattice_over

GRID = Grid.of((26, 24, 22), (1.0, 1.0, 1.0), (3.0, -20.0, 40.0))
STILL = torch.eye(4, dtype=torch.float64)
KINDS = [MindLikeness, InformationLikeness]


def texture(seed: int, sigma: float = 2.0) -> Image:
    noise = torch.rand(1, 1, *GRID.shape, generator=torch.Generator().manual_seed(seed))
    return Image(gaussian(noise, sigma)[0, 0], GRID)


def likeness(kind: type[Likeness], fixed: Image, moving: Image, voxel_mm: float = 1.0) -> Likeness:
    region = torch.zeros(GRID.shape, dtype=torch.uint8)
    region[5:-5, 5:-5, 5:-5] = 1
    return kind(View(fixed, moving, lattice_over(Image(region, GRID, "uint8"), GRID, voxel_mm)))


def shifted(*mm: float) -> torch.Tensor:
    matrix = STILL.clone()
    matrix[:3, 3] = torch.tensor(mm, dtype=torch.float64)
    return matrix


def test_values_of_known_images() -> None:
    image = texture(0)
    like = likeness(MindLikeness, image, image)
    pose = like.pose(STILL)
    assert like.value(pose, pose.seen) == pytest.approx(0.0, abs=1e-6)
    # Two equally frequent values tell log 2 of each other, whatever they are.
    halves = Image((torch.arange(26) >= 13).float().expand(GRID.shape).contiguous(), GRID)
    for moving, information in ((halves, np.log(2)), (halves.with_data(1 - halves.data), np.log(2))):
        like = likeness(InformationLikeness, halves, moving)
        pose = like.pose(STILL)
        away = (like.view.local[0].abs() > 2) & pose.seen  # from the smoothed border of the halves
        assert like.value(pose, away) == pytest.approx(information, abs=0.02)


def test_unrelated_images_share_little_information() -> None:
    like = likeness(InformationLikeness, texture(0, 0.5), texture(1, 0.5))
    same = likeness(InformationLikeness, texture(0, 0.5), texture(0, 0.5))
    assert like.value(like.pose(STILL), like.pose(STILL).seen) < 0.3
    assert same.value(same.pose(STILL), same.pose(STILL).seen) > 1.0


def test_the_pull_of_information_is_its_derivative() -> None:
    like = likeness(InformationLikeness, texture(0), texture(1))
    pose = like.pose(shifted(0.3, 0.2, 0.1))
    direction = like.pull(pose)[None] * pose.seen
    step = 1e-3 / float(direction.abs().max())
    ahead, behind = (
        like.value(pose._replace(features=pose.features + sign * step * direction), pose.seen) for sign in (1, -1)
    )
    # Per voxel and per bin: the histogram counts shares of voxels, and its bins are 1/31 wide.
    slope = float(direction.square().sum()) * 31 / int(pose.seen.sum())
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=0.1)


def test_leads_are_shares() -> None:
    image = texture(0)
    mind, information = (likeness(kind, image, image) for kind in KINDS)
    assert mind.lead(-0.1, -0.2) == pytest.approx(0.5)
    assert mind.lead(-0.2, -0.1) == pytest.approx(-1.0)
    assert mind.lead(0.0, 0.0) == 0.0
    assert information.lead(0.4, 0.1) == pytest.approx(0.75)
    assert information.lead(0.0, 0.1) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_may_not_be_left_out_for_a_gain(kind) -> None:
    image = texture(0)
    moving = image.with_data(image.data.clone())
    moving.data[:, :, :13] = texture(9).data[:, :, :13]  # one half does not fit
    like = likeness(kind, image, moving)
    now = like.pose(STILL)
    noise = 0.02 * torch.randn(now.features.shape, generator=torch.Generator().manual_seed(3))
    fits = now.seen & (like.view.local[0] > 2)
    then = now._replace(features=now.features + noise, seen=fits)
    assert like.value(then, then.seen) > like.value(now, now.seen)
    assert not better(like, then, now)
    assert better(like, now, then)
    assert not better(like, now, then, enough=int(fits.sum()) + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_it_climbs_to_the_place_that_fits_and_asks_before_every_look(kind) -> None:
    image = texture(0)
    like, asked = likeness(kind, image, image), []
    start = shifted(1.2, -0.8, 0.6)
    found = fit(like, start, lambda _: True, lambda: asked.append(1))
    assert like.view.lattice.apart(start) > 1.5
    assert like.view.lattice.apart(found) < 0.1
    assert len(asked) > 3


def test_where_nothing_is_allowed_it_stays() -> None:
    image = texture(0)
    start = shifted(1.2, -0.8, 0.6)
    assert torch.equal(fit(likeness(MindLikeness, image, image), start, lambda _: False, lambda: None), start)


@pytest.mark.parametrize("kind", KINDS)
def test_directions_that_the_volumes_leave_open_stay_where_they_are(kind) -> None:
    layers = Image(((torch.arange(26) / 4.0).sin() + 1).expand(GRID.shape).contiguous(), GRID)
    found = fit(likeness(kind, layers, layers), shifted(0.8, 0.0, 0.0), lambda _: True, lambda: None)
    np.testing.assert_allclose(found[:3, 3], np.zeros(3), atol=0.2)
    np.testing.assert_allclose(found[:3, :3], np.eye(3), atol=0.02)
