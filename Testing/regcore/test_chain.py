"""Chains of networks and refinement, volumes and slices: what is composed with what, in mm and with the sign."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from regcore import rigid_step
from regcore.chain import stage_names
from regcore.field import to_voxels
from regcore.grid import Grid
from regcore.image import Image
from regcore.ops.fields import jacobian_determinant
from regcore.pipeline import register
from regcore.preprocess import Inputs, normalise
from regcore.progress import Cancelled
from regcore.settings import Settings
from regcore.summary import Truth, summarise
from regcore.transform import RigidTransform
from regcore.weights import Trained

from .pairs import blob_image, blobs_at, centred_grid
from .rigid_networks import Moments
from .shift_networks import Shift, add_shift

GRID = centred_grid((48, 48, 48), (1.0, 1.0, 1.0))
TURN = RigidTransform.from_euler((0, 0, 30), (0, 0, 0)).matrix


@pytest.fixture
def cube():
    """A pair that differs by nothing, on a grid that canonical order leaves as it is."""
    grid = centred_grid((40, 44, 36), (1.5, 1.5, 1.5))
    x, y, z = np.moveaxis(grid.points().numpy(), -1, 0)
    value = blobs_at(grid.points().numpy()) + 0.2 * np.sin(x / 3) * np.sin(y / 3.3) * np.cos(z / 2.9)
    image = Image(torch.from_numpy(value.clip(0).astype(np.float32)), grid)
    return Inputs(image, image)


@pytest.fixture
def stack():
    """Thick slices, turned in the plane; each slice of the moving image is bent within itself."""
    grid = centred_grid((64, 60, 5), (1.0, 1.0, 9.0), TURN)
    points = grid.points().numpy()
    local = points @ TURN
    bent = local + np.stack(
        [2.5 * np.sin(local[..., 1] / 9), 2.0 * np.cos(local[..., 0] / 8), np.zeros(local.shape[:-1])], axis=-1
    )
    texture = 0.15 * np.sin(local[..., 0] / 2) * np.sin(local[..., 1] / 2.3)
    moved = 0.15 * np.sin(bent[..., 0] / 2) * np.sin(bent[..., 1] / 2.3)
    seen = [
        torch.from_numpy((blobs_at(p) + t).clip(0).astype(np.float32))
        for p, t in ((bent @ TURN.T, moved), (points, texture))
    ]
    return Inputs(Image(seen[0], grid), Image(seen[1], grid)), (bent @ TURN.T - points)


def middle(result, dim=3):
    return result.transform(np.zeros((1, dim)))[0]


def test_two_networks_go_on_from_one_another(cube, monkeypatch):
    add_shift(monkeypatch, "down", {3: (3.0, 0.0, 0.0)})
    add_shift(monkeypatch, "left", {3: (0.0, 0.0, 1.5)})
    result = register(cube, Settings(stages=("down", "left"), init=("none",)))
    np.testing.assert_allclose(middle(result), [1.5, 0.0, 3.0], atol=1e-4)
    assert list(result.seconds) == ["initial transform", "down", "left", "outputs"]
    assert len(result.warnings) >= 2  # neither was trained


def test_the_second_network_sees_what_the_first_found(cube, monkeypatch):
    seen = []
    add_shift(monkeypatch, "down", {3: (3.0, 0.0, 0.0)})
    made = add_shift(monkeypatch, "looks", {3: (0.0, 0.0, 0.0)})
    predict = Shift.predict

    def look(self, fixed, moving):
        if made and self is made[-1]:
            seen.append(moving)
        return predict(self, fixed, moving)

    monkeypatch.setattr(Shift, "predict", look)
    register(cube, Settings(stages=("down", "looks"), init=("none",)))
    (moving,) = seen
    image = normalise(cube.moving)
    shown = moving[0, 0, :36, :44, :40]
    torch.testing.assert_close(shown[:-2], image[2:], atol=1e-4, rtol=0)  # 3 mm are two voxels along k


def test_a_network_goes_on_from_the_initial_transform(cube, monkeypatch):
    add_shift(monkeypatch, "down", {3: (3.0, 0.0, 0.0)})
    start = RigidTransform.from_euler((0, 0, 0), (2.0, 0.0, 0.0))
    result = register(cube, Settings(model="down", refine=0, init=("none",)), start=start)
    np.testing.assert_allclose(middle(result), [2.0, 0.0, 3.0], atol=1e-4)


@pytest.mark.parametrize("stages", [("folds",), ("refine", "folds"), ("folds", "refine")])
@pytest.mark.parametrize("dimensions", [3, 2])
def test_what_a_network_folds_is_unfolded(cube, stack, monkeypatch, dimensions, stages):
    add_shift(monkeypatch, "folds", {dimensions: (3.0, 0.0, 1.5)[:dimensions]})
    predict = Shift.predict

    def fold(self, fixed, moving):
        found = predict(self, fixed, moving)
        found.displacement[(..., *[15] * dimensions)] += 5
        return found

    inputs = cube if dimensions == 3 else stack[0]
    monkeypatch.setattr(Shift, "predict", fold)
    result = register(inputs, Settings(stages=stages, refine=1, init=("none",)))
    determinant = jacobian_determinant(to_voxels(result.transform.displacement_on(inputs.fixed.grid)))
    assert 0 < float(determinant.min()) < 0.7
    assert float(determinant.max()) > 1.3


def test_refinement_undoes_what_a_network_got_wrong(cube, monkeypatch):
    add_shift(monkeypatch, "down", {3: (3.0, 0.0, 0.0)})
    result = register(cube, Settings(stages=("down", "refine"), init=("none",)))
    inside = np.random.default_rng(0).uniform(-12, 12, (200, 3))
    assert np.linalg.norm(result.transform(inside) - inside, axis=1).mean() < 0.3


def test_a_stack_is_registered_slice_by_slice(stack, monkeypatch):
    inputs, _ = stack
    made = add_shift(monkeypatch, "plane", {2: (0.0, 3.0)})
    result = register(inputs, Settings(model="plane", refine=0))
    assert result.slicewise
    assert result.init == ("none",)
    assert made[-1].shapes == [(5, 1, 40, 44)]  # 60 x 64 mm in pixels of 1.5 mm, filled up to multiples of 4
    np.testing.assert_allclose(middle(result), TURN @ [3.0, 0.0, 0.0], atol=1e-4)


def test_refining_slices_finds_the_motion_in_them_and_none_across(stack):
    inputs, truth = stack
    result = register(inputs, Settings(slicewise=True))
    found = result.field.data.permute(1, 2, 3, 0).numpy()
    assert np.abs(found @ TURN[:, 2]).max() < 1e-4
    inside = (slice(None), slice(15, -15), slice(15, -15))
    before, after = np.linalg.norm(truth[inside], axis=-1), np.linalg.norm((found - truth)[inside], axis=-1)
    assert before.mean() > 1.5
    assert after.mean() < 0.3 * before.mean()
    assert float((result.determinant.data <= 0).sum()) == 0


def test_slices_are_judged_as_papers_on_slices_do(stack):
    inputs, _ = stack
    settings = Settings(slicewise=True)
    figures = summarise(register(inputs, settings), inputs, settings, Truth())
    for name in ("ssim", "uiqi"):
        assert figures[name]["after"] > figures[name]["before"] + 0.1
    assert figures["folding"]["central"] == figures["folding_percent"] == 0
    # The same volume stored with its slices along another axis is judged the same.
    turned = [
        Image(image.data.movedim(0, 2).contiguous(), _permuted(image.grid)) for image in (inputs.fixed, inputs.moving)
    ]
    again = Inputs(*turned)
    other = summarise(register(again, settings), again, settings, Truth())
    assert other["ssim"]["after"] == pytest.approx(figures["ssim"]["after"], abs=1e-4)


def _permuted(grid):
    order = [2, 0, 1]  # the slices' axis k becomes i
    return Grid.of([grid.size[n] for n in order], [grid.spacing[n] for n in order], grid.origin, grid.axes[:, order])


def test_an_empty_slice_does_no_harm(stack):
    inputs, _ = stack
    for image in (inputs.fixed, inputs.moving):
        image.data[0] = 0
    result = register(inputs, Settings(slicewise=True))
    assert torch.isfinite(result.field.data).all()


def test_thick_slices_choose_the_plane_and_the_user_decides(stack, cube, monkeypatch):
    made = add_shift(monkeypatch, "both", {2: (0.0, 1.5), 3: (0.0, 0.0, 1.5)})
    for inputs, asked, dimensions in (
        (stack[0], None, 2),
        (cube, None, 3),
        (cube, True, 2),
        (stack[0], False, 3),
    ):
        result = register(inputs, Settings(model="both", refine=0, init=("none",), slicewise=asked))
        assert made[-1].dimensions == dimensions
        assert result.slicewise is (dimensions == 2)


def test_slices_go_on_from_a_volume(cube, monkeypatch):
    add_shift(monkeypatch, "down", {3: (3.0, 0.0, 0.0)})
    add_shift(monkeypatch, "plane", {2: (1.5, 0.0)})
    result = register(cube, Settings(stages=("down", "plane"), init=("none",)))
    np.testing.assert_allclose(middle(result), [0.0, 1.5, 3.0], atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Settings(stages=()), "stages: expected models and refine"),
        (Settings(model="pan", stages=("pan",)), "either a model or stages"),
        (Settings(stages=("refine",), refine=0), "refine: 0 iterations contradict"),
        (Settings(stages=("affine", "pan")), "stages: affine is a way to start"),
        (Settings(stages=("pan", "attention-reg")), "attention-reg is rigid and must come before pan"),
        (Settings(stages=("nonsense",)), "no model is called 'nonsense'"),
        (Settings(model="pan", slicewise=True), "slicewise: pan registers 3D images only"),
    ],
)
def test_stages_that_do_not_fit_are_refused_before_any_work(cube, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        register(cube, settings)


def test_slices_of_planes_are_refused():
    image = blob_image(centred_grid((40, 44), (1.5, 1.5)))
    with pytest.raises(ValueError, match="2D already"):
        register(Inputs(image, image), Settings(slicewise=True))


def test_a_network_can_be_cancelled(cube, monkeypatch):
    add_shift(monkeypatch, "down", {3: (3.0, 0.0, 0.0)})
    stages = []

    def progress(fraction, stage, message):
        stages.append((stage, message))

    with pytest.raises(Cancelled):
        register(
            cube,
            Settings(model="down", init=("none",)),
            progress=progress,
            cancelled=lambda: ("down", "network") in stages,
        )
    assert stages[-1] == ("down", "network")


def test_stages_of_one_kind_are_told_apart():
    assert stage_names(("refine", "pan", "refine", "pan")) == ["refinement", "pan", "refinement 2", "pan 2"]


def test_a_chain_from_rigid_to_deformable(monkeypatch):
    organ, moved = (blob_image(GRID, RigidTransform.from_euler((0, 0, 0), shift)) for shift in ((0, 0, 0), (-5, 3, -2)))
    inside = (np.abs(GRID.points().numpy()) <= 22).all(-1)
    gland = Image(torch.from_numpy(inside.astype(np.uint8)), GRID, "uint8")
    monkeypatch.setattr(rigid_step, "load_trained", lambda name, folder: Trained(name, (Moments(),), {"f": "0"}))
    add_shift(monkeypatch, "down", {3: (3.0, 0.0, 0.0)})
    inputs = Inputs(organ, moved, fixed_gland=gland)
    rigid = register(inputs, Settings(stages=("attention-reg",), ensemble=1))
    both = register(inputs, Settings(stages=("attention-reg", "down"), ensemble=1))
    np.testing.assert_allclose(middle(both), rigid.transform([[0.0, 0.0, 3.0]])[0], atol=1e-3)
    assert np.linalg.norm(middle(rigid)) > 2
    assert both.weights == {"f": "0"}
    assert isinstance(rigid.transform, RigidTransform)


def test_a_network_that_matches_contrast_is_left_out_where_there_is_none_in_common(cube, monkeypatch):
    made = add_shift(monkeypatch, "matching", {3: (3.0, 0.0, 0.0)})
    monkeypatch.setattr(Shift, "match_contrast", True, raising=False)
    alike = register(cube, Settings("matching", init=("none",), refine=0, inverse=False))
    assert float(alike.field.data.abs().max()) > 2.5
    torch.manual_seed(0)
    noise = replace(cube, moving=cube.moving.with_data(torch.rand_like(cube.moving.data)))
    unlike = register(noise, Settings("matching", init=("none",), refine=0, inverse=False))
    assert float(unlike.field.data.abs().max()) == 0
    assert any("matching was left out" in sentence for sentence in unlike.warnings)
    assert len(made[-1].shapes) == 0
