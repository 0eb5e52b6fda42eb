"""The cine phantom: a heart that beats as hearts do, in the plane of its slices, exactly as the truth says."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from regcore.data.phantoms.chest import CONTRAST
from regcore.data.phantoms.cine import Scan, cine, cine_series
from regcore.data.phantoms.deformation import Pushes
from regcore.data.phantoms.shapes import paint, voxel_points
from regcore.field import DisplacementField
from regcore.metrics import dsc, ncc
from regcore.transform import AffineTransform, DenseTransform
from regcore.warp import warp

SEEDS = (0, 1)
RIGHT, MYOCARDIUM, LEFT = 1, 2, 3


@pytest.fixture(scope="module", params=SEEDS)
def seed(request):
    return request.param


@cache
def _pair(seed):
    return cine(seed)


@pytest.fixture(scope="module")
def phantom(seed):
    return _pair(seed)


@pytest.fixture(scope="module")
def scan(seed):
    return Scan.of(seed)


@pytest.fixture(scope="module")
def clean(scan):
    """End diastole without noise: intensities and labels."""
    return scan.clean(0.0)


def _count(labels, label):
    return int((labels.data == label).sum())


def _lost(phantom, label):
    """Part of a structure's volume that is gone at end systole."""
    return 1 - _count(phantom.moving_labels, label) / _count(phantom.fixed_labels, label)


def test_the_stack_is_thick_oblique_and_off_centre(phantom):
    grid = phantom.fixed.grid
    assert grid.size == (128, 128, 10)
    assert grid.spacing[:2] == (1.5, 1.5)
    assert grid.spacing[2] in (8.0, 10.0)
    assert np.linalg.det(grid.axes) == pytest.approx(1)
    assert np.abs(grid.axes).max() < 0.97
    assert np.linalg.norm(grid.origin) > 10
    assert np.linalg.norm(grid.centre) > 10
    # Right in the image is the patient's left, down is the feet, and the stack goes up towards the base.
    assert grid.axes[0, 0] > 0.4
    assert grid.axes[2, 1] < -0.6
    assert grid.axes[2, 2] > 0.2
    assert phantom.moving.grid == grid


def test_both_phases_show_the_same_structures_and_whole_numbers(phantom):
    for labels, image in ((phantom.fixed_labels, phantom.fixed), (phantom.moving_labels, phantom.moving)):
        assert torch.unique(labels.data).tolist() == [0, RIGHT, MYOCARDIUM, LEFT]
        assert torch.equal(image.data, image.data.round())
        assert image.data.min() >= 0
        assert 700 < image.data.quantile(0.99) < 1600
    # The left cavity lies inside the myocardium, and nowhere touches what is not heart.
    left = torch.nn.functional.max_pool2d((phantom.fixed_labels.data == LEFT).float(), 3, 1, 1) > 0
    assert set(torch.unique(phantom.fixed_labels.data[left]).tolist()) == {MYOCARDIUM, LEFT}


def test_tissues_have_the_contrast_of_a_bright_blood_cine(scan, clean):
    value, labels = clean
    value = value / scan.sensitivity
    left, right, muscle = (np.median(value[labels == n]) for n in (LEFT, RIGHT, MYOCARDIUM))
    assert muscle < 0.4 * left
    assert muscle < 0.45 * right


def test_the_left_ventricle_ejects_and_its_wall_keeps_its_volume(phantom):
    assert 0.50 < _lost(phantom, LEFT) < 0.65
    assert 0.38 < _lost(phantom, RIGHT) < 0.54
    assert abs(_lost(phantom, MYOCARDIUM)) < 0.06
    # In each slice through the cavity, so that no slice gains what another one loses.
    before, after = (
        (labels.data == MYOCARDIUM).sum((1, 2)) for labels in (phantom.fixed_labels, phantom.moving_labels)
    )
    assert (after[3:] / before[3:] - 1).abs().max() < 0.08


@pytest.mark.parametrize("number", range(2, 8))
def test_what_the_docstring_says_of_volumes_holds_for_other_patients(number):
    scan = Scan.of(number)
    here = voxel_points(scan.local)
    parts = [part for part in scan.parts if part.label is not None]
    before, after = (
        np.bincount(paint(parts, CONTRAST, scan.heart.relaxed(here, phase), edge=1)[1].ravel()) for phase in (0.0, 1.0)
    )
    lost = 1 - after / before
    assert 0.53 < lost[LEFT] < 0.64
    assert 0.40 < lost[RIGHT] < 0.52
    assert abs(lost[MYOCARDIUM]) < 0.05
    assert scan.truth(1.0).field.jacobian_determinant().min() > 0.25


def test_the_determinant_says_the_same(phantom):
    determinant = phantom.truth.field.jacobian_determinant()
    assert determinant.min() > 0.25
    assert determinant.max() < 2.2
    parts = {label: float(determinant[phantom.fixed_labels.data == label].mean()) for label in (1, 2, 3)}
    for label, mean in parts.items():
        assert mean == pytest.approx(1 - _lost(phantom, label), abs=0.03)


def test_the_wall_thickens(phantom):
    def thickness(labels):
        heart, cavity = ((labels.data[4:] >= least).sum((1, 2)) for least in (MYOCARDIUM, LEFT))
        return ((heart / np.pi).sqrt() - (cavity / np.pi).sqrt()).mean() * 1.5

    before, after = (thickness(labels) for labels in (phantom.fixed_labels, phantom.moving_labels))
    assert 7 < before < 11
    assert 1.2 < after / before < 1.6


def test_nothing_leaves_its_slice(phantom):
    normal = torch.as_tensor(phantom.fixed.grid.axes[:, 2], dtype=torch.float32)
    displacement = phantom.truth.field.data
    assert torch.einsum("a,akji->kji", normal, displacement).abs().max() < 2e-6
    assert 9 < displacement.norm(dim=0).max() < 19
    # ... which is not so along any axis of the scanner.
    assert (displacement.abs().amax((1, 2, 3)) > 1).all()


def test_motion_fades_towards_the_images_border(phantom):
    length = phantom.truth.field.data.norm(dim=0)
    border = torch.cat([length[:, [0, -1]].flatten(), length[:, :, [0, -1]].flatten()])
    assert border.max() < 1.5


def test_the_truth_maps_fixed_to_moving_points(phantom, clean):
    fixed = torch.from_numpy(clean[0]).float()
    heart = phantom.fixed_labels.data > 0
    moved = phantom.truth.field
    other_way = DenseTransform(DisplacementField(-moved.data, moved.grid))
    likeness = [
        ncc(fixed, warp(phantom.moving, transform, phantom.fixed.grid).data, heart)
        for transform in (phantom.truth, AffineTransform.identity(3), other_way)
    ]
    assert likeness[0] > 0.985
    assert likeness[0] > likeness[1] + 0.2 > likeness[2] + 0.2


def test_the_truth_carries_the_labels(phantom):
    before, after = (
        dsc(phantom.fixed_labels.data, warp(phantom.moving_labels, transform, phantom.fixed.grid, "nearest").data)
        for transform in (AffineTransform.identity(3), phantom.truth)
    )
    assert min(after.values()) > 0.93
    assert max(before.values()) < 0.75


def test_landmarks_of_the_cavity_move_inwards(phantom):
    both = phantom.fixed_landmarks, phantom.moving_landmarks
    fixed, moving = (dict(zip(marks.labels, marks.points, strict=True)) for marks in both)
    for k in (3, 4, 6, 8):
        ways = [f"slice {k} endocardium {way}" for way in ("septal", "lateral", "anterior", "inferior")]
        before, after = (np.linalg.norm(_about_their_middle(marks, ways), axis=1) for marks in (fixed, moving))
        assert (after < 0.8 * before).all()
        # The right free wall comes nearer to the septum.
        septum, wall = f"slice {k} epicardium septal", f"slice {k} right free wall"
        assert np.linalg.norm(moving[wall] - moving[septum]) < 0.8 * np.linalg.norm(fixed[wall] - fixed[septum])


def _about_their_middle(marks, names):
    points = np.stack([marks[name] for name in names])
    return points - points.mean(axis=0)


@pytest.mark.parametrize("phase", [0.3, 1.0])
@pytest.mark.parametrize("number", [0, 1, 2, 134])  # on 134, Newton's method alone goes round in circles
def test_a_beat_is_undone_exactly(number, phase):
    heart = Scan.of(number).heart
    points = np.random.default_rng(number).uniform(-45, 60, (3, 20000))
    there, back = heart.contracted(points, phase), heart.relaxed(points, phase)
    np.testing.assert_allclose(heart.relaxed(there, phase), points, atol=1e-6)
    np.testing.assert_allclose(heart.contracted(back, phase), points, atol=1e-6)
    np.testing.assert_array_equal(there[2], points[2])
    assert np.abs(there - points)[:2].max() > 2 * phase


def test_end_diastole_is_where_nothing_moves(scan):
    points = np.random.default_rng(0).uniform(-60, 60, (3, 1000))
    np.testing.assert_allclose(scan.heart.contracted(points, 0.0), points, atol=1e-10)
    np.testing.assert_array_equal(scan.heart.relaxed(points, 0.0), points)


def test_the_apex_turns_against_the_base(scan):
    still = Pushes(scan.heart.drift.centres, scan.heart.drift.widths, np.zeros((1, 3)))
    heart = replace(scan.heart, drift=still)

    def turned(height):
        points = (heart.axis_at(height) + 0.5 * heart.epicardium(np.array(height)) * heart.direction(2.0))[:, None]
        angles = [float(heart.polar(at)[1][0]) for at in (points, heart.contracted(points, 1.0))]
        return np.rad2deg(angles[1] - angles[0])

    assert 2 < turned(heart.apex + heart.length) < 5
    assert -11 < turned(heart.apex + 0.1 * heart.length) < -4


def test_noise_is_rician_and_as_strong_as_told(phantom, clean):
    value, labels = clean
    noise = phantom.fixed.data.numpy() / 1000 - value
    assert np.std(noise[labels == LEFT]) == pytest.approx(0.025, rel=0.1)
    dark = value < 0.012
    assert dark.sum() > 100
    assert np.mean(noise[dark]) > 0.01  # the magnitude of noise has a mean


def test_a_series_beats_once():
    series, pair = cine_series(SEEDS[-1], 3), _pair(SEEDS[-1])
    assert torch.equal(series.frames[0].data, pair.fixed.data)
    assert torch.equal(series.labels[0].data, pair.fixed_labels.data)
    assert series.phases[0] == 0
    assert max(series.phases) == series.phases[1] > 0.9
    assert series.truths[0].field.data.abs().max() < 1e-6
    volumes = np.array([_count(labels, LEFT) for labels in series.labels])
    assert (np.argsort(volumes) == np.argsort(-np.array(series.phases))).all()
    for frame, labels, truth in zip(series.frames, series.labels, series.truths, strict=True):
        assert truth.field.jacobian_determinant().min() > 0.25
        warped = warp(labels, truth, frame.grid, "nearest")
        assert min(dsc(series.labels[0].data, warped.data).values()) > 0.93


def test_a_series_needs_frames_and_a_seed():
    with pytest.raises(ValueError, match="frames: expected at least 2, got 1"):
        cine_series(0, 1)
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -3"):
        cine_series(-3, 5)


def test_another_seed_is_another_patient():
    scans = [Scan.of(seed) for seed in range(8)]
    for name in ("cavity", "wall", "left_emptied", "right_depth"):
        assert len({getattr(scan.heart, name) for scan in scans}) == len(scans)
    assert {scan.grid.spacing[2] for scan in scans} == {8.0, 10.0}
    assert len({scan.grid.origin for scan in scans}) == len({scan.grid.direction for scan in scans}) == len(scans)
