"""Phantoms: the truth is exact, the images follow it, and the same seed gives the same pair."""

import numpy as np
import pytest
import torch

from regcore.data.phantoms import Phantom, list_phantoms, make_phantom, write_phantom
from regcore.data.phantoms.deformation import Pushes
from regcore.io import read_image, read_labels, read_transform
from regcore.landmarks import read_landmarks
from regcore.metrics import dsc, ncc, nmi, tre
from regcore.transform import AffineTransform, RigidTransform
from regcore.warp import warp

KINDS = list_phantoms()
LABELS = {"brain": 18, "cine": 4, "digits": 2, "prostate": 8}  # background counted
DICE = {
    "brain": (0.65, 0.88),
    "cine": (0.65, 0.93),
    "digits": (0.8, 0.86),
    "prostate": (0.65, 0.88),
}  # most, then least
APART = {"brain": (2.5, 10), "cine": (2.5, 10), "digits": (0.5, 3), "prostate": (2.5, 10)}  # mm, of the landmarks


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def phantom(kind) -> Phantom:
    return make_phantom(kind, 0)


def _identity(phantom):
    return AffineTransform.identity(phantom.fixed.dim)


def _ones_like(image):
    return image.with_data(torch.ones_like(image.data))


def test_every_structure_is_in_both_images(phantom, kind):
    present = [set(torch.unique(labels.data).tolist()) for labels in (phantom.fixed_labels, phantom.moving_labels)]
    assert present[0] == present[1]
    assert len(present[0]) == LABELS[kind]


def test_the_truth_aligns_the_labels(phantom, kind):
    def overlap(transform):
        warped = warp(phantom.moving_labels, transform, phantom.fixed.grid, "nearest")
        # Where the moving image ends, nothing can overlap.
        seen = warp(_ones_like(phantom.moving), transform, phantom.fixed.grid, "nearest").data > 0
        return np.mean(list(dsc(phantom.fixed_labels.data[seen], warped.data[seen]).values()))

    before, after = DICE[kind]
    assert overlap(_identity(phantom)) < before
    assert overlap(phantom.truth) > after


def test_the_truth_aligns_the_intensities(phantom):
    before, after = (warp(phantom.moving, way, phantom.fixed.grid).data for way in (_identity(phantom), phantom.truth))
    seen = warp(_ones_like(phantom.moving), phantom.truth, phantom.fixed.grid, "nearest").data > 0
    assert nmi(phantom.fixed.data, after, seen) > nmi(phantom.fixed.data, before, seen) + 0.005


def test_landmarks_are_exact_and_start_apart(phantom, kind):
    points = phantom.fixed_landmarks.points, phantom.moving_landmarks.points
    assert len(points[0]) >= (20 if phantom.fixed.dim == 3 else 7)
    assert len(set(phantom.fixed_landmarks.labels)) == len(points[0])
    assert phantom.fixed_landmarks.labels == phantom.moving_landmarks.labels
    assert tre(*points, phantom.truth).max() < 1e-9
    least, most = APART[kind]
    assert least < tre(*points, _identity(phantom)).mean() < most
    for landmarks, image in zip(points, (phantom.fixed, phantom.moving), strict=True):
        index = image.grid.to_index(landmarks)
        assert (index >= 0).all()
        assert (index <= np.array(image.grid.size) - 1).all()


def test_landmarks_lie_at_borders(phantom):
    labels = phantom.fixed_labels
    index = np.rint(labels.grid.to_index(phantom.fixed_landmarks.points)).astype(int)
    boxes = [
        tuple(slice(n - r, n + r + 1) for n, r in zip(at, (1, 2, 2)[-labels.dim :], strict=True))
        for at in index[:, ::-1]
    ]
    seen = [len(torch.unique(labels.data[box])) for box in boxes]
    assert np.mean(np.array(seen) > 1) > 0.9


def test_the_brains_deformation_is_smooth_and_large():
    field = make_phantom("brain", 5).truth.field
    assert field.jacobian_determinant().min() > 0.2
    assert 8 < float(field.data.norm(dim=0).max()) < 12.5


def test_the_prostates_motion_is_rigid_and_clinical():
    for seed in range(2):
        phantom = make_phantom("prostate", seed)
        assert isinstance(phantom.truth, RigidTransform)
        angle = np.rad2deg(np.arccos((np.trace(phantom.truth.matrix) - 1) / 2))
        assert 3 <= angle <= 8
        assert 3 <= np.linalg.norm(phantom.truth.translation) <= 8
        assert not np.allclose(phantom.fixed.grid.axes, np.eye(3), atol=0.01)
        assert phantom.moving.grid.spacing != phantom.fixed.grid.spacing
        assert abs(ncc(phantom.fixed.data, warp(phantom.moving, phantom.truth, phantom.fixed.grid).data)) < 0.5


def test_the_same_seed_gives_the_same_files(phantom, kind, tmp_path):
    write_phantom(phantom, tmp_path / "new" / "one")
    write_phantom(make_phantom(kind, 0), tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "two").iterdir())
    assert names == sorted(
        [f"{side}{part}" for side in ("fixed", "moving") for part in (".nii.gz", "_labels.nii.gz", "_landmarks.csv")]
        + ["truth.h5"]
    )
    for name in names:
        # HDF5 files carry the time of writing; the map itself is compared below.
        if name != "truth.h5":
            assert (tmp_path / "new" / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    _check_files(phantom, tmp_path / "two")


def _check_files(phantom, folder):
    for side in ("fixed", "moving"):
        image, expected = read_image(folder / f"{side}.nii.gz"), getattr(phantom, side)
        assert torch.equal(image.data.float(), expected.data)
        assert image.grid.same_as(expected.grid)
        labels = read_labels(folder / f"{side}_labels.nii.gz")
        assert torch.equal(labels.data, getattr(phantom, f"{side}_labels").data)
    points = [read_landmarks(folder / f"{side}_landmarks.csv").points for side in ("fixed", "moving")]
    assert tre(*points, read_transform(folder / "truth.h5", phantom.fixed.grid)).max() < 1e-4


def test_another_seed_gives_another_pair(phantom, kind):
    other = make_phantom(kind, 1)
    assert not torch.equal(other.fixed.data, phantom.fixed.data)
    assert not torch.equal(other.fixed_labels.data, phantom.fixed_labels.data)


def test_unknown_kinds_and_seeds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="brain, cine, digits, prostate"):
        make_phantom("knee", 0)
    with pytest.raises(ValueError, match="seed"):
        make_phantom("brain", -1)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot make the folder"):
        write_phantom(make_phantom("prostate", 0), tmp_path / "file" / "folder")


def test_pushes_invert_and_refuse_to_fold():
    pushes = Pushes(np.array([[0.0, 0, 0], [9, 5, -3]]), np.array([12.0, 15]), np.array([[6.0, 2, 0], [-3, 5, 4]]))
    points = np.random.default_rng(0).uniform(-20, 20, (3, 30))
    np.testing.assert_allclose(pushes(pushes.inverse_at(points)), points, atol=1e-8)
    with pytest.raises(ValueError, match="fold"):
        Pushes(np.zeros((1, 3)), np.array([10.0]), np.array([[17.0, 0, 0]]))
