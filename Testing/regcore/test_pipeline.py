from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.checks import DeviceError, choose_device
from regcore.grid import Grid
from regcore.image import Image, Reorientation
from regcore.io import to_sitk, transform_to_sitk
from regcore.pipeline import _determinant, register
from regcore.preprocess import Inputs, make_pair, registration_grid
from regcore.progress import Cancelled
from regcore.settings import Settings
from regcore.steps import comparable
from regcore.transform import AffineTransform, RigidTransform, Transform

from .pairs import blobs_at, centred_grid

OBLIQUE = RigidTransform.from_euler((4, -3, 5), (0, 0, 0)).matrix
TILT = RigidTransform.from_euler((20, 0, 0), (10.0, 20.0, -5.0))
POINTS = np.random.default_rng(0).uniform(-20, 20, (300, 3))


class Bent(Transform):
    """A rotation, a shift and smooth waves: the truth of the pair below."""

    dim = 3

    def map(self, points):
        x, y, z = points
        waves = torch.stack([3 * torch.sin(y / 14), 2.5 * torch.sin(z / 12 + 1), 2 * torch.cos(x / 13)])
        rigid = RigidTransform.from_euler((5, -4, 8), (4.0, -3.0, 2.0))
        return rigid.map(points + waves)


def textured(grid, through=None):
    points = grid.points().numpy()
    seen = points if through is None else through(points)
    value = blobs_at(seen)
    ripple = np.sin(seen[..., 0] / 3) * np.sin(seen[..., 1] / 3.3) * np.cos(seen[..., 2] / 2.9)
    return Image(torch.from_numpy((value + 0.15 * ripple * (value > 0.05)).clip(0).astype(np.float32)), grid)


@pytest.fixture(scope="module")
def pair():
    fixed = textured(centred_grid((46, 42, 40), (2.0, 2.2, 2.1), OBLIQUE), Bent())
    return Inputs(fixed, textured(centred_grid((46, 50, 40), (2.0, 1.9, 2.2))))


@pytest.fixture(scope="module")
def result(pair):
    return register(pair)


def error(found, truth=None):
    return np.linalg.norm(found(POINTS) - (truth or Bent())(POINTS), axis=1)


def test_a_known_deformation_is_found(result):
    assert error(AffineTransform.identity(3)).mean() > 5
    assert error(result.transform).mean() < 0.5  # a quarter of a voxel
    assert error(result.transform).mean() < 0.4 * error(result.initial).mean()
    assert float((result.determinant.data <= 0).sum()) == 0
    assert result.metric == "lncc"


def test_simpleitk_alone_reproduces_the_warped_image(pair, result):
    there = sitk.Resample(
        to_sitk(pair.moving), to_sitk(pair.fixed), transform_to_sitk(result.transform), sitk.sitkLinear, 0.0
    )
    difference = np.abs(sitk.GetArrayFromImage(there) - result.warped.data.numpy())
    assert difference.mean() < 1e-5
    assert difference.max() < 1e-2


def test_jacobian_agrees_with_simpleitk(pair, result):
    grid = pair.fixed.grid
    whole = transform_to_sitk(result.transform)
    lattice = (grid.size, grid.origin, grid.spacing, grid.direction)
    field = sitk.GetArrayFromImage(sitk.TransformToDisplacementField(whole, sitk.sitkVectorFloat64, *lattice))
    # ITK's filter takes index axes for the world's: give it the vectors along the grid's own axes.
    own = sitk.GetImageFromArray(field @ grid.axes, isVector=True)
    own.SetSpacing(grid.spacing)
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(own))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(result.determinant.data.numpy()[inner], theirs[inner], atol=1e-3)


def test_inverse_closes_the_round_trip(result):
    assert result.inverse.error_mean_mm < 0.1
    back = result.inverse.transform(result.transform(POINTS))
    assert np.linalg.norm(back - POINTS, axis=1).mean() < 0.1


def turned(image, order, flipped):
    return Reorientation(order, flipped).image(image)


def tilted(image):
    grid = image.grid
    origin = TILT(np.array(grid.origin)).tolist()
    return Image(image.data, Grid.of(grid.size, grid.spacing, origin, TILT.matrix @ grid.axes))


@pytest.mark.parametrize(
    "store",
    [
        lambda f, m: (turned(f, (0, 2, 1), (False, True, True)), m),
        lambda f, m: (f, turned(m, (1, 0, 2), (True, True, False))),
        lambda f, m: (turned(f, (2, 0, 1), (True, False, False)), turned(m, (0, 1, 2), (False, False, True))),
    ],
    ids=["fixed LIA", "moving RAS", "both"],
)
def test_storage_order_changes_nothing(pair, result, store):
    there = register(Inputs(*store(pair.fixed, pair.moving))).transform
    assert np.abs(there(POINTS) - result.transform(POINTS)).max() < 0.05


@pytest.mark.parametrize("sides", [(True, True), (True, False), (False, True)], ids=["both", "fixed", "moving"])
def test_an_oblique_header_is_carried_through(pair, result, sides):
    """Either volume lying 20 degrees oblique in the world: the transform turns with it."""
    images = [tilted(i) if tilt else i for i, tilt in zip((pair.fixed, pair.moving), sides, strict=True)]
    found = register(Inputs(*images)).transform
    there = found(TILT(POINTS) if sides[0] else POINTS)
    back = TILT.inverse()(there) if sides[1] else there
    assert np.abs(back - result.transform(POINTS)).max() < 0.05


def test_same_input_same_result(pair, result):
    again = register(pair)
    assert torch.equal(again.field.data, result.field.data)


def test_identical_images_stay_where_they_are(pair):
    same = register(Inputs(pair.moving, pair.moving))
    # Mutual information gains a little by leaving background out, so an affine start is a fraction of a voxel off.
    assert error(same.transform, AffineTransform.identity(3)).max() < 0.5
    still = register(Inputs(pair.moving, pair.moving), Settings(init=("none",)))
    assert error(still.transform, AffineTransform.identity(3)).max() < 0.01


def test_other_contrast_goes_by_mind(pair):
    inverted = pair.moving.with_data((1 - pair.moving.data) * (pair.moving.data > 0.02))
    found = register(Inputs(pair.fixed, inverted), Settings(init=("rigid",)))
    assert found.metric == "mind"
    assert any("contrast" in warning for warning in found.warnings)
    assert error(found.transform).mean() < 0.8 * error(found.initial).mean()


def test_after_a_network_contrast_that_can_be_matched_is(pair):
    inverted = pair.moving.with_data((1 - pair.moving.data) * (pair.moving.data > 0.02))
    two = make_pair(Inputs(pair.moving, inverted), AffineTransform.identity(3), pair.moving.grid)
    near = torch.zeros(1, 3, *two.fixed.shape[2:])
    metric, alike = comparable(two, near)
    assert metric == "lncc"
    apart = [float((image.moving - two.fixed).abs().mean()) for image in (two, alike)]
    assert apart[1] < 0.2 * apart[0]
    assert comparable(two, None) == ("mind", two)
    unlike = replace(two, moving=torch.rand(two.moving.shape))
    assert comparable(unlike, near) == ("mind", unlike)
    same = replace(two, moving=two.fixed)
    assert comparable(same, near) == ("lncc", same)


def test_images_without_anything_in_common_are_not_deformed_unasked(pair):
    noise = torch.from_numpy(np.random.default_rng(0).random(tuple(pair.moving.data.shape), dtype=np.float32))
    unlike = Inputs(pair.fixed, pair.moving.with_data(noise))
    found = register(unlike, Settings(init=("none",)))
    assert found.metric == "none"
    assert any("too unlike" in warning for warning in found.warnings)
    assert error(found.transform, AffineTransform.identity(3)).max() < 1e-6
    asked = register(unlike, Settings(init=("none",), refine=4))
    assert asked.metric == "mind"


def test_2d():
    def image(grid, through=None):
        points = grid.points().numpy()
        seen = points if through is None else through(points)
        return Image(torch.from_numpy((200 * blobs_at(seen)).astype(np.int16)), grid, "int16")

    truth = RigidTransform.from_euler((9,), (6.0, -5.0))
    moving = image(centred_grid((90, 80), (1.1, 1.3)))
    found = register(Inputs(image(centred_grid((84, 100), (1.2, 1.0)), truth), moving))
    points = np.random.default_rng(0).uniform(-20, 20, (100, 2))
    assert np.linalg.norm(found.transform(points) - truth(points), axis=1).mean() < 0.6
    assert found.warped.pixel_type == "int16"


def test_network_in_the_chain(pair):
    with_network = register(pair, Settings(model="pan"))
    assert "pan" in with_network.seconds
    assert error(with_network.transform).mean() < 0.6
    assert any("trained" in warning for warning in with_network.warnings)


def test_a_large_image_is_worked_on_coarser_and_answered_on_its_own_grid(pair, monkeypatch):
    monkeypatch.setattr("regcore.pipeline.registration_grid", lambda grid: registration_grid(grid, most_voxels=20_000))
    coarse = register(pair)
    assert error(coarse.transform).mean() < 1.0
    for image in (coarse.warped, coarse.determinant, coarse.before):
        assert image.grid is pair.fixed.grid
    assert coarse.inverse.error_mean_mm < 0.1


def test_known_start_is_kept_without_refinement(pair):
    start = AffineTransform.of(np.eye(3), (1.0, 2.0, 3.0))
    found = register(pair, Settings(init=("none",), refine=0, inverse=False), start=start)
    assert np.array_equal(found.transform(POINTS), POINTS + np.array([1.0, 2.0, 3.0]))
    assert found.inverse is None


def test_volumes_apart_are_refused_unless_brought_together(pair):
    grid = pair.moving.grid
    away = Image(pair.moving.data, Grid.of(grid.size, grid.spacing, np.add(grid.origin, 5000).tolist(), grid.axes))
    with pytest.raises(ValueError, match="do not overlap"):
        register(Inputs(pair.fixed, away))
    found = register(Inputs(pair.fixed, away), Settings(init=("centre", "rigid"), refine=0))
    moved = AffineTransform.of(np.eye(3), (5000.0, 5000.0, 5000.0))
    assert error(found.transform, lambda points: moved(Bent()(points))).mean() < 3


def test_bad_input_is_one_sentence(pair):
    spoiled = pair.moving.data.clone()
    spoiled[3, 4, 5] = float("nan")
    flat = pair.moving.with_data(torch.full_like(spoiled, 7.0))
    plane = Image(torch.rand(20, 20), centred_grid((20, 20), (1.0, 1.0)))
    empty = pair.fixed.with_data(torch.zeros_like(pair.fixed.data, dtype=torch.uint8))
    cases = {
        "NaN": Inputs(pair.fixed, pair.moving.with_data(spoiled)),
        "same value": Inputs(pair.fixed, flat),
        "3D image": Inputs(pair.fixed, plane),
        "mask is empty": Inputs(pair.fixed, pair.moving, fixed_mask=empty),
    }
    for words, inputs in cases.items():
        with pytest.raises(ValueError, match=words):
            register(inputs)
    with pytest.raises(ValueError, match="no model"):
        register(pair, Settings(model="nothing"))


def test_progress_rises_to_one_and_cancel_stops(pair):
    seen = []
    register(pair, Settings(refine=20), progress=lambda fraction, stage, message: seen.append((fraction, stage)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == pytest.approx(1)
    assert [stage for n, (_, stage) in enumerate(seen) if n == 0 or seen[n - 1][1] != stage] == [
        "initial transform",
        "refinement",
        "outputs",
    ]
    stage = [""]
    with pytest.raises(Cancelled):
        register(
            pair, progress=lambda f, name, m: stage.__setitem__(0, name), cancelled=lambda: stage[0] == "refinement"
        )


def test_registration_grid_follows_the_image_and_its_limit():
    grid = Grid.of((512, 512, 300), (0.7, 0.7, 1.25), (5, 6, 7), OBLIQUE)
    coarse = registration_grid(grid)
    assert np.prod(coarse.size) <= 8_000_000
    np.testing.assert_allclose(coarse.centre, grid.centre)
    assert max(coarse.spacing) < 2.5
    assert registration_grid(grid, 2.0).spacing == (2.0, 2.0, 2.0)
    small = Grid.of((60, 60, 12), (1, 1, 5))
    assert registration_grid(small) is small


def test_devices():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device"):
        choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError):
            choose_device("cuda")


@pytest.mark.parametrize("size", [(70, 60, 50), (700, 300), (6, 5, 8000)])
def test_the_jacobian_in_slabs_is_that_of_the_whole_field(smooth_field, size):
    turned = OBLIQUE if len(size) == 3 else None
    field = smooth_field(Grid.of(size, [1.0, 1.5, 2.0][: len(size)], direction=turned), 5.0)
    assert torch.equal(_determinant(field), field.jacobian_determinant())
