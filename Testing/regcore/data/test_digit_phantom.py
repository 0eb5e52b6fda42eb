"""The digits phantom: figures one can read, bent by a known and gentle map of the plane."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from skimage.measure import label as components

from regcore.data.phantoms import make_phantom, write_phantom
from regcore.data.phantoms.digits import digits
from regcore.field import DisplacementField
from regcore.metrics import dsc, ncc
from regcore.transform import AffineTransform, DenseTransform
from regcore.warp import warp

HOLES = {0: 1, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 0, 8: 2, 9: 1}


@pytest.fixture(scope="module", params=range(20))
def seed(request):
    return request.param


@pytest.fixture(scope="module")
def phantom(seed):
    return digits(seed)


def test_images_look_like_those_of_written_digits(phantom):
    for image, labels in ((phantom.fixed, phantom.fixed_labels), (phantom.moving, phantom.moving_labels)):
        assert image.grid.size == (28, 28)
        assert image.grid.spacing == (1.0, 1.0)
        assert image.pixel_type == "uint8"
        assert torch.equal(image.data, image.data.round())
        assert image.data.min() == 0
        assert image.data.max() > 225
        assert torch.equal((image.data >= 128).long(), labels.data)
        assert torch.cat([labels.data[[0, -1]].flatten(), labels.data[:, [0, -1]].flatten()]).sum() == 0
        assert 0.05 < labels.data.float().mean() < 0.3


def test_each_figure_has_the_holes_of_its_digit(phantom, seed):
    for labels in (phantom.fixed_labels.data.numpy(), phantom.moving_labels.data.numpy()):
        assert components(labels, connectivity=2).max() == 1
        assert components(labels == 0, connectivity=2).max() - 1 == HOLES[seed % 10]


def test_the_deformation_is_gentle_and_smooth(phantom):
    field = phantom.truth.field
    assert 2.3 < field.data.norm(dim=0).max() < 3.01
    assert field.jacobian_determinant().min() > 0.2
    second = [field.data.diff(n=2, dim=axis).abs().max() for axis in (1, 2)]
    assert max(second) < 0.8


def test_the_truth_maps_fixed_to_moving_points(phantom):
    field = phantom.truth.field
    other_way = DenseTransform(DisplacementField(-field.data, field.grid))
    likeness = [
        ncc(phantom.fixed.data, warp(phantom.moving, transform, field.grid).data)
        for transform in (phantom.truth, AffineTransform.identity(2), other_way)
    ]
    assert likeness[0] > 0.99
    assert likeness[0] > likeness[1] + 0.05
    assert likeness[1] > likeness[2]


def test_the_truth_carries_the_labels(phantom):
    before, after = (
        dsc(phantom.fixed_labels.data, warp(phantom.moving_labels, transform, phantom.fixed.grid, "label").data)[1]
        for transform in (AffineTransform.identity(2), phantom.truth)
    )
    assert after > 0.9
    assert before < after - 0.08


def test_landmarks_lie_on_the_line_in_both_images(phantom):
    fixed, moving = phantom.fixed_landmarks.points, phantom.moving_landmarks.points
    index = np.rint(phantom.fixed.grid.to_index(fixed)).astype(int)
    assert (phantom.fixed_labels.data[index[:, 1], index[:, 0]] == 1).all()
    near = torch.nn.functional.max_pool2d(phantom.moving_labels.data[None].float(), 3, 1, 1)[0]
    index = np.rint(phantom.moving.grid.to_index(moving)).astype(int)
    assert (near[index[:, 1], index[:, 0]] == 1).all()


def test_the_written_transform_is_the_same_for_itk(phantom, tmp_path):
    write_phantom(phantom, tmp_path)
    read = sitk.ReadTransform(str(tmp_path / "truth.h5"))
    assert read.GetDimension() == 2
    points = phantom.fixed.grid.points().numpy().reshape(-1, 2)
    moved = np.array([read.TransformPoint(point) for point in points.tolist()])
    np.testing.assert_allclose(moved - points, phantom.truth.field.data.reshape(2, -1).T.numpy(), atol=1e-6)
    image = sitk.ReadImage(str(tmp_path / "moving.nii.gz"))
    assert image.GetSize() == (28, 28)
    assert image.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), phantom.moving.data.numpy())


def test_ten_seeds_on_the_same_digit_is_written_otherwise():
    for digit in (0, 4):
        first, second = make_phantom("digits", digit), make_phantom("digits", digit + 10)
        assert not torch.equal(first.moving.data, second.moving.data)
        assert dsc(first.moving_labels.data, second.moving_labels.data)[1] > 0.4
