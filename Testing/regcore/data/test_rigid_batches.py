"""What a training sample shows and what it says must be one and the same rigid map, in mm and with its sign."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.crop import gland_crop
from regcore.data import rigid_batches
from regcore.data.misalignment import Misalignment
from regcore.data.rigid_batches import PLAIN, RigidSampler, Variety
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import transform_to_sitk
from regcore.ops.rigid import apply_matrix, mean_displacement, rigid_inverse, rigid_matrix, rigid_parameters

from ..organ_cases import REFERENCE, organ_case

SIZE = (12, 20, 16)
STILL = Variety((1.6, 1.6), 0.0, 0.0, 0.0, 0.0, 0.0, False, 0.0)


@pytest.fixture(scope="module", params=[("rotated", "mirrored"), ("mirrored", "flipped"), ("plain", "rotated")])
def case(request, awkward_grids):
    """An organ on rotated, anisotropic and offset grids."""
    return organ_case(*(awkward_grids[name] for name in request.param))


def resampled(image, crop, transform, as_itk):
    """SimpleITK's view of an image through a transform on a crop, and which voxels lie well inside the image."""
    itk = as_itk(image)
    shown = sitk.Resample(itk, as_itk(Image(torch.zeros(crop.shape), crop)), transform, sitk.sitkLinear, 0.0)
    points = crop.points().reshape(-1, 3).numpy()
    index = image.grid.to_index([transform.TransformPoint(point) for point in points.tolist()])
    inside = ((index >= 0) & (index <= np.asarray(image.grid.size) - 1)).all(axis=1).reshape(crop.shape)
    assert inside.mean() > 0.5
    return sitk.GetArrayFromImage(shown), inside


def through_the_start(residual, crop):
    """The start, fixed to moving points, as SimpleITK composes it: into the crop, the residual, out, the truth."""
    into = sitk.AffineTransform(3)
    into.SetMatrix(crop.axes.T.ravel().tolist())
    into.SetTranslation((-crop.axes.T @ crop.centre).tolist())
    numbers = rigid_parameters(residual[None].double())[0].tolist()
    turn = sitk.Euler3DTransform((0, 0, 0), *np.deg2rad(numbers[3:]), numbers[:3])
    turn.SetComputeZYX(True)
    chain = sitk.CompositeTransform(3)
    for part in (transform_to_sitk(REFERENCE), into.GetInverse(), turn, into):  # the last one is applied first
        chain.AddTransform(part)
    return chain


def test_an_aligned_sample_is_the_pair_resampled_into_the_crop(case, as_itk):
    batch = RigidSampler([case], SIZE, "image", (0, 0), PLAIN).draw(1)
    crop = gland_crop(case.gland, SIZE)
    np.testing.assert_allclose(batch.side_mm[0], crop.extent, rtol=1e-5)
    fixed, inside = resampled(case.fixed, crop, sitk.Transform(3, sitk.sitkIdentity), as_itk)
    np.testing.assert_allclose(batch.fixed[0, 0][inside], fixed[inside], atol=1e-4)
    moving, inside = resampled(case.moving, crop, transform_to_sitk(case.reference), as_itk)
    np.testing.assert_allclose(batch.moving[0, 0][inside], moving[inside], atol=1e-4)
    assert fixed.std() > 0.1
    assert torch.equal(batch.residual[0], torch.eye(4))
    assert batch.start_sre.item() == 0


def test_a_misaligned_sample_is_the_pair_resampled_through_the_composed_transform(case, as_itk):
    batch = RigidSampler([case], SIZE, "image", (7, 9), PLAIN, seed=3).draw(2)
    crop = gland_crop(case.gland, SIZE)
    for item in range(2):
        moving, inside = resampled(case.moving, crop, through_the_start(batch.residual[item], crop), as_itk)
        np.testing.assert_allclose(batch.moving[item, 0][inside], moving[inside], atol=2e-4)
        aligned, _ = resampled(case.moving, crop, transform_to_sitk(case.reference), as_itk)
        assert np.abs(moving - aligned).max() > 0.1
    assert not torch.equal(batch.residual[0], batch.residual[1])


def test_a_gland_is_sampled_like_an_image(case, as_itk):
    batch = RigidSampler([case], SIZE, "label", (0, 0), PLAIN).draw(1)
    gland = case.gland.with_data(case.gland.data.float())
    mask, inside = resampled(gland, gland_crop(case.gland, SIZE), sitk.Transform(3, sitk.sitkIdentity), as_itk)
    np.testing.assert_allclose(batch.fixed[0, 0][inside], mask[inside], atol=1e-4)
    assert 0.08 < mask.mean() < 0.2  # pi / 6 of a box of 1 / 1.6^3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_start_shifted_along_an_axis_shows_the_organ_there(case, axis, monkeypatch):
    wrong = [0.0] * 6
    wrong[axis] = 4.0  # mm

    def known(points, wanted, generator, **share):
        matrix = rigid_matrix(torch.tensor([wrong], dtype=torch.float64))
        return Misalignment(matrix, mean_displacement(matrix, points))

    one_spot = organ_case(case.fixed.grid, case.moving.grid, np.zeros((1, 3)))
    monkeypatch.setattr(rigid_batches, "misalign", known)
    batch = RigidSampler([one_spot], SIZE, "image", (0, 20), PLAIN).draw(1)
    there = centroid(batch.moving[0], batch.side_mm[0]) - centroid(batch.fixed[0], batch.side_mm[0])
    np.testing.assert_allclose(there, wrong[:3], atol=0.1)
    torch.testing.assert_close(rigid_parameters(batch.residual)[0], -torch.tensor(wrong))
    assert batch.start_sre.item() == pytest.approx(4)


def test_the_residual_brings_the_start_back(case):
    start = RigidSampler([case], SIZE, "image", (6, 8), PLAIN, seed=1).draw(1)
    aligned = RigidSampler([case], SIZE, "image", (0, 0), PLAIN, seed=1).draw(1)
    spacing = (start.side_mm[0] / torch.tensor(SIZE[::-1])).tolist()
    origin = [-(n - 1) / 2 * s for n, s in zip(SIZE[::-1], spacing, strict=True)]
    shown = sitk.GetImageFromArray(start.moving[0, 0].numpy())
    shown.SetSpacing(spacing)
    shown.SetOrigin(origin)
    # Content moves by the residual, so a voxel takes its value from where the residual came from.
    numbers = rigid_parameters(rigid_inverse(start.residual.double()))[0].tolist()
    turn = sitk.Euler3DTransform((0, 0, 0), *np.deg2rad(numbers[3:]), numbers[:3])
    turn.SetComputeZYX(True)
    back = sitk.GetArrayFromImage(sitk.Resample(shown, turn))
    inner = tuple(slice(n // 4, -(n // 4)) for n in SIZE)
    expected = aligned.moving[0, 0].numpy()[inner]
    left, before = (np.abs(other[inner] - expected).mean() for other in (back, start.moving[0, 0].numpy()))
    assert left < 0.03
    assert left < 0.25 * before


def test_errors_are_those_of_the_residual_on_the_surface(case):
    batch = RigidSampler([case], SIZE, "image", (0, 20), PLAIN, seed=5).draw(6)
    torch.testing.assert_close(mean_displacement(batch.residual, batch.surface), batch.start_sre, atol=1e-3, rtol=0)
    assert ((batch.start_sre >= 0) & (batch.start_sre <= 20.05)).all()
    assert batch.start_sre.std() > 2
    assert batch.surface.shape == (6, 200, 3)
    # The surface lies about the crop's centre, at 1 / 1.6 of its sides.
    assert (batch.surface.abs().amax(dim=(0, 1)) <= batch.side_mm[0] / 3.2).all()
    assert (batch.surface.abs().amax(dim=(0, 1)) >= batch.side_mm[0] / 4).all()


@pytest.mark.parametrize(
    "variety",
    [
        Variety((1.6, 1.6), 0.0, 0.0, 0.0, 0.0, 0.0, True, 0.0),
        Variety((1.5, 1.75), 2.0, 8.0, 0.15, 0.0, 0.0, True, 0.0),
    ],
    ids=["mirror", "mirror, tilt, scale, offset"],
)
def test_the_organ_moves_as_the_residual_says_in_every_kind_of_sample(case, variety):
    spot = np.array([[4.0, 0.0, 0.0]])
    one_spot = organ_case(case.fixed.grid, case.moving.grid, spot)
    batch = RigidSampler([one_spot], (20, 20, 20), "image", (2, 7), variety, seed=2).draw(16)
    sides = set()
    for item in range(16):
        fixed, moving = (centroid(part[item], batch.side_mm[item]) for part in (batch.fixed, batch.moving))
        assert np.linalg.norm(moving - fixed) > 0.3
        back = apply_matrix(batch.residual[item : item + 1], torch.as_tensor(moving)[None].float())[0, 0]
        np.testing.assert_allclose(back, fixed, atol=0.35)
        sides.add(bool(fixed[0] > 0))
    assert sides == {True, False}  # the spot lies to the left in some samples, to the right in others


def test_without_mirroring_no_sample_is_mirrored(case):
    one_spot = organ_case(case.fixed.grid, case.moving.grid, np.array([[4.0, 0.0, 0.0]]))
    batch = RigidSampler([one_spot], SIZE, "image", (0, 0), STILL).draw(8)
    found = [centroid(fixed, side) for fixed, side in zip(batch.fixed, batch.side_mm, strict=True)]
    expected = gland_crop(one_spot.gland, SIZE).axes.T[:, 0] * 4
    np.testing.assert_allclose(found, np.tile(expected, (8, 1)), atol=0.6)


def test_bending_is_the_same_in_both_volumes(case):
    bent = Variety((1.6, 1.6), 0.0, 0.0, 0.0, 2.0, 0.0, False, 0.0)
    apart = Variety((1.6, 1.6), 0.0, 0.0, 0.0, 0.0, 2.0, False, 0.0)
    plain, together, own = (RigidSampler([case], SIZE, "image", (0, 0), v).draw(4) for v in (STILL, bent, apart))

    def gap(batch):
        return (batch.fixed - batch.moving)[..., 3:-3, 5:-5, 4:-4].abs().mean().item()

    assert (together.fixed - plain.fixed).abs().mean() > 0.01
    assert gap(together) < 1.5 * gap(plain) + 0.01
    assert gap(own) > 3 * gap(plain)
    torch.testing.assert_close(own.moving, plain.moving)


def test_a_smaller_field_of_view_only_blanks(case):
    narrow = Variety((1.6, 1.6), 0.0, 0.0, 0.0, 0.0, 0.0, False, 12.0)
    plain, cut = (RigidSampler([case], SIZE, "image", (0, 0), v).draw_from([case] * 6) for v in (STILL, narrow))
    blank = (cut.moving == 0) & (plain.moving > 0.02)
    assert blank.any()
    assert torch.equal(cut.fixed, plain.fixed)
    assert torch.isclose(cut.moving, plain.moving, atol=1e-5).float().mean() > 0.5


def test_the_seed_decides(case):
    draws = [RigidSampler([case], SIZE, "image", (0, 20), Variety(), seed=seed).draw(2) for seed in (4, 4, 5)]
    assert all(torch.equal(a, b) for a, b in zip(draws[0], draws[1], strict=True))
    assert not torch.equal(draws[0].moving, draws[2].moving)
    for part in draws[0]:
        assert part.dtype == torch.float32
        assert part.isfinite().all()
    assert draws[0].fixed.shape == draws[0].moving.shape == (2, 1, *SIZE)


def test_all_cases_are_drawn_from(awkward_grids):
    both = [organ_case(awkward_grids["plain"], awkward_grids["plain"], np.array([[x, 0.0, 0.0]])) for x in (-5, 5)]
    batch = RigidSampler(both, SIZE, "image", (0, 0), PLAIN).draw(12)
    sides = {bool(centroid(fixed, side)[0] > 0) for fixed, side in zip(batch.fixed, batch.side_mm, strict=True)}
    assert sides == {True, False}


def test_wrong_arguments_are_refused(case):
    with pytest.raises(ValueError, match="cases: expected at least one"):
        RigidSampler([], SIZE, "image", (0, 20))
    for range_mm in ((5.0, 2.0), (-1.0, 3.0)):
        with pytest.raises(ValueError, match=r"sre_mm: expected a range such as \(0, 20\) mm"):
            RigidSampler([case], SIZE, "image", range_mm)


def centroid(crop, side_mm):
    """Centre of mass of a crop ``(1, *size)`` in mm from its middle; x, y, z."""
    weight = (crop[0] - 0.1).clamp_min(0).double()
    grid = Grid.of(crop.shape[:0:-1], (side_mm / torch.tensor(crop.shape[:0:-1])).tolist())
    points = grid.points() - torch.as_tensor(grid.centre)
    return ((weight[..., None] * points).sum(dim=(0, 1, 2)) / weight.sum()).numpy()
