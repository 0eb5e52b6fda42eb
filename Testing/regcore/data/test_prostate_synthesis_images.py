"""Synthetic prostates look as MRI and ultrasound do: order of T2 greys, statistics of speckle, fading, shadows."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from regcore.data.batch import generator
from regcore.data.synthesis.prostate_anatomy import Blob, Place, levels, paint, random_anatomy
from regcore.data.synthesis.prostate_beam import (
    DECIBEL,
    Probe,
    beam,
    coupling_gain,
    edge_gain,
    random_probe,
    speckle,
    speckle_gain,
    stone_gain,
)
from regcore.data.synthesis.prostate_mri import random_greys, t2_image
from regcore.data.synthesis.prostate_shape import random_gland
from regcore.data.synthesis.prostate_ultrasound import (
    compressed,
    depth_gain,
    random_echoes,
    random_stones,
    ultrasound_image,
)

PROBE = Probe(25.0, 8.0, 40.0, math.radians(50))
RAYLEIGH = math.sqrt(4 / math.pi - 1)  # deviation over mean, 0.523


def lattice(*counts: int, spacing: float = 1.0) -> torch.Tensor:
    """Points ``(3, z, y, x)`` about the origin."""
    axes = [(torch.arange(n) - (n - 1) / 2) * spacing for n in counts]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flip(0)


@pytest.fixture(scope="module")
def patient():
    random = generator(4, 0)
    anatomy = random_anatomy(random_gland(random), random)
    points = lattice(48, 60, 60)
    return anatomy, Place(points, anatomy.gland.at(points))


def tissues(anatomy, place) -> dict[str, torch.Tensor]:
    """Where each tissue is on top and not near a border."""
    top, deep = torch.full_like(place.gland, -1), torch.zeros_like(place.gland)
    names = []
    for name, level in anatomy.parts(place, rectum=True):
        names.append(name)
        deep = torch.where(level < 0, -level, torch.minimum(deep, level))
        top = torch.where(level < 0, len(names) - 1, top)
    numbers = {name: [n for n, other in enumerate(names) if other == name] for name in names}
    return {name: torch.isin(top, torch.tensor(found).float()) & (deep > 1.2) for name, found in numbers.items()}


def test_levels_are_those_of_ellipsoids():
    blobs = [Blob("a", (3.0, -2.0, 5.0), (4.0, 6.0, 8.0)), Blob("b", (-20.0, 30.0, 0.0), (2.0, 2.0, 10.0))]
    points = torch.randn(3, 5, 6, 7, generator=generator(0, 0)) * 20
    for blob, found in zip(blobs, levels(blobs, points), strict=True):
        scaled = (points - torch.tensor(blob.middle).view(3, 1, 1, 1)) / torch.tensor(blob.radii).view(3, 1, 1, 1)
        by_hand = (scaled.norm(dim=0) - 1) * min(blob.radii)
        torch.testing.assert_close(found[0], by_hand, atol=1e-2, rtol=1e-4)


def test_paint_shows_each_tissue_in_its_own_value(patient):
    anatomy, place = patient
    values = dict.fromkeys(["fat", *(name for name, _ in anatomy.parts(place, rectum=True))], 0.0)
    where = tissues(anatomy, place)
    chosen = ("peripheral", "transition", "urine", "muscle")
    for tissue in chosen:
        shown = paint(anatomy, values | {tissue: 1.0}, place, rectum=True, edge_mm=0.2)
        assert int(where[tissue].sum()) > 50
        assert float(shown[where[tissue]].mean()) > 0.95
        assert all(float(shown[where[other]].mean()) < 0.05 for other in chosen if other != tissue)


def test_a_probe_takes_the_place_of_the_rectum(patient):
    anatomy, place = patient
    seen = [{name for name, _ in anatomy.parts(place, rectum=rectum)} for rectum in (True, False)]
    assert seen[0] - seen[1] <= {"gas", "stool", "wall"}
    assert len(seen[0] - seen[1]) >= 1


def test_t2_greys_keep_their_order():
    order = [("capsule", "transition"), ("dark nodule", "transition"), ("transition", "bright nodule")]
    order += [("transition", "peripheral"), ("lesion", "peripheral"), ("muscle", "fat"), ("gas", "stool")]
    for number in range(50):
        greys = random_greys(generator(0, number))
        for darker, brighter in order:
            assert greys[darker] < greys[brighter], (number, darker, brighter)


def test_zones_have_their_t2_contrast_in_the_image():
    order = ("capsule", "transition", "peripheral")
    rows = []
    for number in range(6):
        random = generator(1, number)
        anatomy = random_anatomy(random_gland(random), random)
        points = lattice(48, 48, 48)
        place = Place(points, anatomy.gland.at(points))
        image = t2_image(anatomy, place, (1.0, 1.0, 1.0), random)[0]
        assert image.shape == place.gland.shape
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1
        zone = next(level for name, level in anatomy.parts(place, rectum=True) if name == "transition")
        seen = image > 0.01  # scanned slices
        rim = (place.gland.abs() < 0.5) & seen
        inner, outer = (zone < -2) & seen, (zone > 2) & (place.gland < -2) & seen
        rows.append([float(image[where].mean()) for where in (rim, inner, outer)])
    means = torch.tensor(rows).mean(dim=0)
    for (_, low), (_, high) in itertools.pairwise(zip(order, means, strict=True)):
        assert low < high


def test_speckle_is_fully_developed():
    magnitude = speckle(PROBE, 24, generator(0, 1)).norm(dim=1).flatten()
    assert float(magnitude.square().mean()) == pytest.approx(1, abs=0.01)
    assert float(magnitude.std() / magnitude.mean()) == pytest.approx(RAYLEIGH, abs=0.02)
    # Rayleigh: 1 - exp(-m^2) lies below m.
    for level in (0.3, 0.8, 1.5):
        assert float((magnitude < level).float().mean()) == pytest.approx(1 - math.exp(-(level**2)), abs=0.02)


def test_speckle_keeps_its_statistics_in_the_picture():
    points = lattice(24, 44, 59)
    at = beam(PROBE, points)
    magnitude = (speckle_gain(speckle(PROBE, 24, generator(0, 2)), PROBE, at)[at.seen] / DECIBEL).exp()
    assert float(magnitude.std() / magnitude.mean()) == pytest.approx(RAYLEIGH, abs=0.03)


def test_speckle_is_wider_across_the_beam_than_along_it():
    field = speckle(PROBE, 16, generator(0, 3))
    along, across = PROBE.depth / 95, 2 * PROBE.opening / 95

    def correlation(axis: int, lag: int) -> float:
        count = field.shape[axis] - lag
        product = field.narrow(axis, 0, count) * field.narrow(axis, lag, count)
        return float(product.mean() / field.square().mean())

    # A Gaussian of deviation s has the correlation exp(-d^2 / 4 s^2) at distance d.
    assert correlation(4, 2) == pytest.approx(math.exp(-((2 * along / 0.6) ** 2) / 4), abs=0.05)
    assert correlation(3, 2) == pytest.approx(math.exp(-((2 * across / math.radians(2.4)) ** 2) / 4), abs=0.05)
    # Two millimetres each way, 35 mm from the axis.
    assert correlation(3, round(2 / 35 / across)) > correlation(4, round(2 / along)) + 0.3


def test_the_beam_looks_forward_in_a_sector():
    probe = random_probe(40.0, generator(0, 4))
    at = beam(probe, lattice(3, 100, 101))
    assert bool((at.depth[at.seen] > 0).all())
    assert float(at.depth[at.seen].max()) <= probe.depth
    assert float(at.angle[at.seen].abs().max()) <= probe.opening
    ahead = beam(probe, torch.tensor([0.0, probe.axis_y - probe.radius - 5, 2.0]).view(3, 1, 1, 1))
    assert (float(ahead.depth), float(ahead.angle), float(ahead.along)) == pytest.approx((5, 0, 2), abs=1e-4)
    behind = beam(probe, torch.tensor([0.0, probe.axis_y + 20, 0.0]).view(3, 1, 1, 1))
    assert not bool(behind.seen)


def test_echoes_fade_with_depth():
    at = beam(PROBE, lattice(1, 60, 60))
    gain = depth_gain(at, 0.3, 15.0, 10.0)
    order = at.depth[at.seen].argsort()
    assert bool((gain[at.seen][order].diff() <= 1e-4).all())
    far = (at.depth > 35).logical_and(at.seen)
    torch.testing.assert_close(gain[far], -0.3 * at.depth[far], atol=1e-3, rtol=0)


def test_images_fade_with_depth_on_average():
    bands = torch.zeros(3)
    for number in range(6):
        at, image = picture(number)[1:]
        for row, (near, far) in enumerate([(2, 12), (12, 24), (24, 34)]):
            bands[row] += image[(at.depth > near) & (at.depth < far) & at.seen].mean()
    assert bands[0] > bands[1] > bands[2]


def test_nothing_is_seen_outside_the_sector():
    for number in range(3):
        _, at, image = picture(number)
        assert float(image.max()) == pytest.approx(1)
        outside = (at.angle.abs() - PROBE.opening) * (at.depth + PROBE.radius) > 8
        assert bool((image[outside] == 0).all())
        assert float(image[at.seen].mean()) > 0.05


def picture(number: int):
    random = generator(2, number)
    anatomy = random_anatomy(random_gland(random), random)
    points = lattice(24, 44, 59)
    tissue = points - torch.tensor([0.0, 17 - 5 - anatomy.gland.half_mm[1], 0.0]).view(3, 1, 1, 1)
    place = Place(tissue, anatomy.gland.at(tissue))
    image = ultrasound_image(anatomy, PROBE, place, points, torch.zeros(0, 3), random)[0]
    return anatomy, beam(PROBE, points), image


def test_a_stone_is_bright_and_dark_behind():
    at = beam(PROBE, lattice(9, 60, 61))
    stone = torch.tensor([4.0, 2.0, 0.0])
    gain = stone_gain(at, stone, PROBE, 1.0, 15.0)
    place = beam(PROBE, stone.view(3, 1, 1, 1))
    ray = ((at.angle - place.angle).abs() < 0.02) & (at.along.abs() < 0.1)
    behind = ray & (at.depth > place.depth + 5) & at.seen
    before = ray & (at.depth < place.depth - 5) & at.seen
    assert int(behind.sum()) > 5
    assert float(gain[behind].max()) < -12
    assert float(gain[before].abs().max()) < 0.1
    assert float(gain[:, 4, 31, 34]) > 5  # at the stone: x 4, y 1.5
    beside = at.seen & ((at.angle - place.angle).abs() > 0.25)
    assert float(gain[beside].abs().max()) < 0.5


def test_edges_of_a_gland_cast_shadows():
    points = lattice(5, 60, 61)
    at = beam(PROBE, points)
    gland = points[:2].norm(dim=0, keepdim=True) - 12  # a cylinder of 12 mm about the origin
    gain = edge_gain(at, gland, 10.0)
    graze = math.asin(12 / PROBE.axis_y)
    far = (at.depth > 25) & at.seen
    edge = far & ((at.angle.abs() - graze).abs() < 0.02)
    assert float(gain[edge].mean()) < -8
    assert float(gain[far & (at.angle.abs() < 0.2)].abs().max()) < 0.2
    assert float(gain[at.depth < 5].abs().max()) < 0.5
    assert bool((edge_gain(at, torch.ones_like(gland), 10.0) == 0).all())


def test_a_probe_sometimes_loses_touch():
    at = beam(PROBE, lattice(1, 40, 40))
    gains = [coupling_gain(at, PROBE, generator(3, number)) for number in range(60)]
    lost = sum(bool((gain < -3).any()) for gain in gains)
    assert 8 <= lost <= 30
    assert all(float(gain.max()) <= 0 for gain in gains)


def test_the_screen_is_logarithmic():
    shown = compressed(torch.tensor([-100.0, -10.0, 0.0, 10.0, 100.0]), 0.5, 50.0)
    torch.testing.assert_close(shown, torch.tensor([0.0, 0.3, 0.5, 0.7, 1.0]))


def test_the_transition_zone_is_darker_or_brighter():
    echoes = [random_echoes(generator(0, number)) for number in range(40)]
    darker = sum(e["transition"] < e["peripheral"] for e in echoes)
    assert 20 < darker < 40
    assert all(e["dark nodule"] < e["transition"] < e["bright nodule"] for e in echoes)


def test_stones_lie_in_the_gland():
    counts = []
    for number in range(12):
        random = generator(5, number)
        anatomy = random_anatomy(random_gland(random), random)
        stones = random_stones(anatomy, random)
        counts.append(len(stones))
        assert bool((anatomy.gland.at(stones.T[:, :, None, None]) < 0).all())
    assert 0 in counts
    assert max(counts) >= 2
