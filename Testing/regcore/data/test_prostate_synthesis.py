"""Synthetic prostates: cases are functions of their numbers, and their known transforms hold."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.data.batch import generator
from regcore.data.rigid_cases import RigidCase
from regcore.data.synthesis.prostate import ProstateOptions, SyntheticPair, synthetic_case, synthetic_pair
from regcore.data.synthesis.prostate_pool import SyntheticCases, case_number
from regcore.data.synthesis.prostate_shape import gland_of_mask, lattice_points, random_gland
from regcore.data.synthesis.prostate_squeeze import random_squeeze
from regcore.grid import Grid
from regcore.image import Image
from regcore.procrustes import landmark_transform

ANISOTROPIC = ProstateOptions((72, 72, 24), (0.9, 0.9, 2.6), (60, 48, 52), (1.0, 0.8, 0.9), oblique_deg=15.0)
RIGID = ProstateOptions((60, 60, 36), (1.0, 1.0, 1.7), (70, 64, 50), (1.0, 1.0, 1.3), oblique_deg=15.0, squeeze=0.0)


def same(one: RigidCase, other: RigidCase) -> bool:
    tensors = all(torch.equal(getattr(one, n).data, getattr(other, n).data) for n in ("fixed", "moving", "gland"))
    return tensors and one.fixed.grid == other.fixed.grid and np.array_equal(one.to_moving, other.to_moving)


def egg(at: tuple[float, float, float] = (3.0, -4.0, 2.0), feet: float = -1.0) -> Image:
    """A mask with its thin end towards the feet, on an oblique grid."""
    grid = Grid.of((60, 56, 30), (0.9, 1.0, 1.8), (-30.0, -28.0, -26.0), np.eye(3))
    x, y, z = (grid.points() - torch.tensor(at)).double().movedim(-1, 0)
    thin = 1 - 0.35 * (feet * z / 18).clamp(-1, 1)
    inside = (x / (20 * thin)).square() + (y / (14 * thin)).square() + (z / 18).square() < 1
    return Image(inside.to(torch.uint8), grid, "uint8")


def to_itk(image: Image) -> sitk.Image:
    made = sitk.GetImageFromArray(image.data.numpy())
    made.SetSpacing(image.grid.spacing)
    made.SetOrigin(image.grid.origin)
    made.SetDirection(image.grid.direction)
    return made


def dice_after_reference(pair: SyntheticPair, wrong_mm: float = 0.0) -> float:
    case, moving_gland = pair
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(case.reference.homogeneous[:3, :3].ravel().tolist())
    transform.SetTranslation((case.reference.homogeneous[:3, 3] + wrong_mm).tolist())
    seen = sitk.Resample(to_itk(moving_gland), to_itk(case.gland), transform, sitk.sitkNearestNeighbor)
    fixed, moved = case.gland.data.numpy() > 0, sitk.GetArrayFromImage(seen) > 0
    return float(2 * (fixed & moved).sum() / (fixed.sum() + moved.sum()))


def test_a_case_is_a_function_of_seed_and_number():
    first, other = synthetic_case(5, 1), synthetic_case(6, 1)
    assert same(first, synthetic_case(5, 1))
    assert not same(first, other)
    assert not same(first, synthetic_case(5, 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert same(first, synthetic_case(5, 1))


def test_a_case_is_as_real_ones_are():
    case = synthetic_case(0, 0)
    assert (case.fixed.grid.size, case.moving.grid.size) == ((64, 64, 60), (59, 44, 41))
    for image in (case.fixed, case.moving):
        assert image.data.dtype == torch.float32
        assert 0 <= float(image.data.min()) < 0.05
        assert 0.3 < float(image.data.max()) <= 1
        assert 0.05 < float(image.data.std()) < 0.4
    assert 4_000 < int(case.gland.data.sum()) < 60_000
    on_grid = case.gland.grid.to_index(case.surface)
    np.testing.assert_allclose(on_grid, np.round(on_grid), atol=1e-6)
    rotation = case.reference.homogeneous[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("number", range(3))
def test_the_reference_aligns_the_glands_exactly_where_nothing_is_squeezed(number):
    pair = synthetic_pair(number, 3, options=RIGID)
    assert dice_after_reference(pair) > 0.95
    assert dice_after_reference(pair, wrong_mm=3.0) < 0.9


@pytest.mark.parametrize("number", range(3))
def test_the_reference_aligns_squeezed_glands_on_oblique_grids(number):
    pair = synthetic_pair(number, 3, options=ANISOTROPIC)
    right = dice_after_reference(pair)
    assert right > 0.85
    assert right > dice_after_reference(pair, wrong_mm=2.0)


def test_squeezing_leaves_no_rigid_motion():
    gland = random_gland(generator(0, 0))
    surface = gland.surface().double()
    squeeze = random_squeeze(surface, 1.0, generator(0, 1))
    there = squeeze.forth(surface)
    torch.testing.assert_close(squeeze.back(there), surface, atol=1e-6, rtol=0)
    moved = (there - surface).norm(dim=0)
    assert 0.3 < float(moved.mean()) < 4
    rigid = landmark_transform(surface.T.numpy(), there.T.numpy()).homogeneous
    np.testing.assert_allclose(rigid, np.eye(4), atol=1e-6)


def test_no_squeeze_is_the_identity():
    points = torch.randn(3, 40, generator=generator(0, 0)).double() * 20
    squeeze = random_squeeze(points, 0.0, generator(0, 1))
    torch.testing.assert_close(squeeze.back(points), points, atol=1e-9, rtol=0)


@pytest.mark.parametrize("feet", [-1.0, 1.0])
def test_a_gland_of_a_mask_has_its_shape_with_the_head_up(feet):
    gland = gland_of_mask(egg(feet=feet))
    assert gland.half_mm[2] == pytest.approx(18, abs=2)
    inside = gland.level[0, 0] < 0
    voxel = float(np.prod(egg().grid.spacing))
    assert float(inside.sum()) * 8 == pytest.approx(float(egg().data.sum()) * voxel, rel=0.05)
    wide = inside.sum(dim=(1, 2)).float()
    half = len(wide) // 2
    assert float(wide[half + 4 : half + 8].sum()) > 1.2 * float(wide[half - 8 : half - 4].sum())


def test_a_level_is_a_distance():
    gland = gland_of_mask(egg())
    slope = torch.stack(torch.gradient(gland.level[0, 0], spacing=2.0)).norm(dim=0)
    near = gland.level[0, 0].abs() < 5
    assert float(slope[near].mean()) == pytest.approx(1, abs=0.1)
    points = lattice_points(gland.level)
    torch.testing.assert_close(gland.at(points)[0], gland.level[0, 0], atol=1e-3, rtol=0)


def test_glands_of_cases_keep_their_kind_of_size():
    shapes = [gland_of_mask(egg())]
    volumes = [float((synthetic_case(n, 0, shapes).gland.data > 0).sum()) for n in range(3)]
    true = float(egg().data.sum()) * float(np.prod(egg().grid.spacing))
    assert all(0.6 * true < volume < 1.6 * true for volume in volumes)
    assert len(set(volumes)) == 3


def test_the_pool_is_renewed_one_by_one_and_depends_on_the_number_alone():
    numbers = [case_number(n) for n in range(4000)]
    assert all(len({numbers[n + i] for i in range(32)}) == 32 for n in range(0, 3900, 7))
    renewed = [len(set(numbers[n + 32 : n + 64]) - set(numbers[n : n + 32])) for n in range(0, 3900, 32)]
    assert set(renewed) == {2}
    counts = np.bincount(numbers)[32:3000]
    assert set(counts[counts > 0].tolist()) <= set(range(1, 17))
    kept, fresh = SyntheticCases(0), SyntheticCases(0)
    kept.case_of(7)
    assert kept.case_of(7 + 32) is kept.case_of(7)
    far = 7 + 32 * 20
    assert same(kept.case_of(far), fresh.case_of(far))
    assert not same(fresh.case_of(7), fresh.case_of(far))


def test_the_pool_bends_the_glands_of_its_cases():
    real = synthetic_case(0, 9)
    pool = SyntheticCases(0, "cases", [real])
    assert len(pool.glands) == 1
    assert same(pool.case_of(3), synthetic_case(case_number(3), 0, pool.glands))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: synthetic_case(0, 0, []), "shapes: expected at least one gland"),
        (lambda: SyntheticCases(0, "spheres"), "synthetic_shapes: expected random or cases, got 'spheres'"),
        (lambda: ProstateOptions(squeeze=2.0), "squeeze: expected a number from 0 to 1, got 2.0"),
        (lambda: ProstateOptions(fixed_spacing=(1.0, 0.0, 1.0)), "spacing: expected mm above 0"),
        (lambda: ProstateOptions(moving_size=(4, 40, 40)), "size: expected 16 voxels or more"),
        (lambda: gland_of_mask(egg().with_data(torch.zeros_like(egg().data))), "got an empty one"),
        (lambda: gland_of_mask(egg().with_data(_wide())), "reaches further"),
        (lambda: gland_of_mask(egg().with_data(_thin())), "not even 10 mm thick"),
    ],
)
def test_what_makes_no_prostate_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_gland_cut_off_by_its_volume_is_closed():
    whole = egg()
    cut = Image(whole.data[8:], Grid.of((60, 56, 22), whole.grid.spacing, (-30.0, -28.0, -11.6)), "uint8")
    gland = gland_of_mask(cut)
    voxel = float(np.prod(cut.grid.spacing))
    assert float((gland.level < 0).sum()) * 8 == pytest.approx(float(cut.data.sum()) * voxel, rel=0.08)
    assert float(gland.level[0, 0, 0].min()) > 10  # well away from it, on either side
    assert float(gland.level[0, 0, -1].min()) > 10


def _thin() -> torch.Tensor:
    mask = torch.zeros(egg().grid.shape, dtype=torch.uint8)
    mask[14:16, 10:40, 10:40] = 1
    return mask


def _wide() -> torch.Tensor:
    mask = torch.zeros(egg().grid.shape, dtype=torch.uint8)
    mask[0, 0, 0] = mask[-1, -1, -1] = mask[0, -1, -1] = 1
    return mask


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cases_are_painted_on_a_gpu_too():
    case, moving_gland = synthetic_pair(2, 3, device="cuda")
    assert same(case, synthetic_case(2, 3, device="cuda"))
    assert case.fixed.data.device.type == moving_gland.data.device.type == "cpu"
    assert synthetic_case(2, 3, [gland_of_mask(egg())], "cuda").gland.data.any()
