"""Pairs from label maps and from nothing: the same for the same number, sensible, and brought together in mm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.data.batch import generator, stacked
from regcore.data.synthesis.deformation import DeformationOptions, random_coordinates
from regcore.data.synthesis.intensities import IntensityOptions, image_of, known_greys, random_greys
from regcore.data.synthesis.label_source import LabelOptions, LabelSource
from regcore.data.synthesis.maps import find_files, read_maps
from regcore.data.synthesis.shape_source import ShapeOptions, ShapeSource
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import write_image
from regcore.metrics import dsc
from regcore.ops.fields import jacobian_determinant
from regcore.ops.sampling import identity_coordinates
from regcore.transform import RigidTransform

from ...conftest import GRIDS

CPU = torch.device("cpu")
STILL = DeformationOptions(rotation_deg=0.0, scale=0.0, shift=0.0, bend=0.0)
CENTRES = np.array([[0, 0, 0], [9, 0, 0], [-9, 1, 2], [0, 8, -2], [1, -8, 3], [0, 2, 9], [2, 0, -9], [7, 7, 6]])


def subject(grid: Grid, way=None) -> Image:
    """Eight balls with labels 2, 4, .. 16 about the middle of the grids of conftest, seen through ``way``."""
    points = grid.points().numpy() - np.array([-30, 12, 105])
    if way is not None:
        points = way(points)
    found = np.zeros(points.shape[:-1], dtype=np.int64)
    for number, centre in enumerate(CENTRES):
        found[((points - centre) ** 2).sum(-1) < 4.4**2] = 2 * number + 2
    return Image(torch.from_numpy(found), grid, "int16")


@pytest.fixture
def maps(tmp_path):
    """Files of four subjects of different orientation, size and tilt."""
    tilts = [None, RigidTransform.from_euler((6, -5, 4), (1.0, 2.0, -1.0), (0, 0, 0)), lambda p: p / 1.15, None]
    for number, (name, way) in enumerate(zip(("plain", "flipped", "permuted", "mirrored"), tilts, strict=True)):
        write_image(subject(GRIDS[name], way), tmp_path / f"labels_{number}.nii.gz")
    return tmp_path


def options(maps, **more) -> LabelOptions:
    known = {"maps": (f"{maps}/labels_[0-2].nii.gz",), "held_out": (f"{maps}/labels_3.nii.gz",)}
    return LabelOptions(**known, size=(28, 28, 28), spacing_mm=1.5, pairs_held_out=2, **more)


def test_subjects_are_brought_together_whatever_their_orientation_size_and_tilt(maps):
    found = read_maps(find_files([f"{maps}/*.nii.gz"], "maps"), (32, 32, 32), 1.2)
    assert found.values == (0, 2, 4, 6, 8, 10, 12, 14, 16)
    for other in found.maps[1:]:
        scores = dsc(found.maps[0], other)
        assert min(scores.values()) > 0.5  # balls of two or three voxels
        assert np.mean(list(scores.values())) > 0.65


def test_groups_name_structures_and_share_a_grey(maps):
    source = LabelSource(options(maps, groups=((2, 4), (6,)), deformation=STILL, strip=0.0), 0)
    batch = source.draw([0], CPU)
    assert source.labels == (1, 2)
    assert set(batch.fixed_labels.unique().tolist()) == {0, 1, 2}
    quiet = IntensityOptions(texture=0.0, blur=0.0, bias=0.0, noise=0.0, gamma=0.0, thick=1.0)
    plain = LabelSource(options(maps, groups=((2, 4), (6,)), deformation=STILL, intensities=quiet), 0).draw([3], CPU)
    inside = plain.fixed[0, 0][plain.fixed_labels[0] == 1]
    assert inside.median() == pytest.approx(float(inside.quantile(0.8)), abs=0.02)


@pytest.mark.parametrize("kind", ["labels", "shapes", "slices"])
def test_a_sample_is_a_function_of_its_number(maps, kind):
    made = {
        "labels": lambda seed: LabelSource(options(maps), seed),
        "shapes": lambda seed: ShapeSource(ShapeOptions(size=(16, 18, 20), shapes=(3, 6), knots=(3, 5)), seed),
        "slices": lambda seed: ShapeSource(ShapeOptions(size=(24, 30), shapes=(3, 6), knots=(3, 5)), seed),
    }[kind]
    source, again = made(1), made(1)
    whole = source.draw([4, 7], CPU)
    parts = stacked([again.draw([4], CPU), again.draw([7], CPU)])
    for a, b in zip(whole, parts, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    assert not torch.equal(whole.fixed[0], whole.fixed[1])
    assert not torch.equal(whole.fixed, made(2).draw([4, 7], CPU).fixed)
    for image in (whole.fixed, whole.moving):
        assert image.shape == (2, 1, *source.size)
        assert image.dtype == torch.float32
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1
    held = [batch.fixed for batch in source.validation(CPU)]
    assert held
    assert all(torch.equal(a, b.fixed) for a, b in zip(held, made(2).validation(CPU), strict=True))


def test_slices_of_volumes_are_cut_at_one_height(maps):
    source = LabelSource(options(maps, deformation=STILL), 0)
    flat = LabelOptions(**{**vars(options(maps, deformation=STILL)), "size": (28, 28)})
    batch = LabelSource(flat, 0).draw([0, 1, 2], CPU)
    assert batch.fixed.shape == (3, 1, 28, 28)
    assert source.draw([0], CPU).fixed.shape == (1, 1, 28, 28, 28)


def test_stripping_takes_the_outside_from_image_and_labels(maps):
    source = LabelSource(options(maps, groups=((2,), (16,)), outside=(16,), strip=1.0), 0)
    for number in range(3):
        batch = source.draw([number], CPU)
        assert 2 not in batch.fixed_labels.unique().tolist()


def test_a_known_contrast_is_kept(maps):
    random = generator(0, 0)
    mean, spread = known_greys([(1, 0.8, 0.02), (3, 0.0, 0.0)], 4, random)
    assert abs(float(mean[1]) - 0.8) <= 0.05
    assert mean[[0, 2, 3]].tolist() == [0, 0, 0]
    assert spread.tolist() == pytest.approx([0, 0.02, 0, 0])


@pytest.mark.parametrize("size", [(40, 44), (24, 28, 32)], ids=str)
def test_random_anatomy_does_not_fold(size):
    strong = DeformationOptions(rotation_deg=10.0, scale=0.1, shift=3.0, bend=3.0)
    for number in range(6):
        where = random_coordinates(size, strong, generator(0, number))
        displacement = where - identity_coordinates(size, where)
        assert float(displacement.abs().max()) > 1
        assert float(jacobian_determinant(displacement).min()) > 0


def test_no_deformation_is_none():
    where = random_coordinates((9, 10, 11), STILL, generator(0, 0))
    torch.testing.assert_close(where, identity_coordinates((9, 10, 11), where), atol=1e-5, rtol=0)


def test_greys_follow_the_labels():
    labels = torch.zeros(20, 20, 20, dtype=torch.int64)
    labels[5:15, 5:15, 5:15] = 1
    quiet = IntensityOptions(texture=0.0, blur=0.0, bias=0.0, noise=0.0, gamma=0.0, thick=1.0)
    greys = torch.tensor([0.2, 0.9]), torch.zeros(2)
    image = image_of(labels, greys, quiet, generator(0, 0))[0, 0]
    assert image[10, 10, 10] == pytest.approx(1.0, abs=1e-3)
    assert image[1, 1, 1] == pytest.approx(0.2 / 0.9, abs=0.01)
    mean, _ = random_greys(5, IntensityOptions(background=1.0), generator(0, 0))
    assert mean[0] == 0


def test_what_cannot_be_learned_from_is_said(maps, tmp_path):
    with pytest.raises(ValueError, match=r"labels.maps: no file fits .*none"):
        LabelSource(LabelOptions(maps=(f"{maps}/none*.nii.gz",)), 0)
    with pytest.raises(ValueError, match=r"labels_0.nii.gz is among the maps to learn from"):
        LabelSource(LabelOptions(maps=(f"{maps}/*.nii.gz",), held_out=(f"{maps}/labels_0.nii.gz",)), 0)
    with pytest.raises(ValueError, match="expected at least one label map"):
        LabelSource(LabelOptions(), 0)
    empty = subject(GRIDS["plain"])
    write_image(empty.with_data(torch.zeros_like(empty.data)), tmp_path / "empty.nii.gz")
    with pytest.raises(ValueError, match=r"empty.nii.gz holds no labels"):
        LabelSource(LabelOptions(maps=(f"{tmp_path}/empty.nii.gz",)), 0)
