"""Cases from files: upright volumes, the gland alone, the reference as a matrix."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.data.rigid_cases import read_case, read_cases
from regcore.metrics import sre
from regcore.transform import AffineTransform, RigidTransform

from ..organ_cases import CENTRE, RADII, REFERENCE, write_case


@pytest.fixture
def folder(tmp_path, awkward_grids):
    write_case(tmp_path, "case03", awkward_grids["flipped"], awkward_grids["permuted"])
    return tmp_path


def test_volumes_are_upright_and_scaled(folder):
    case = read_case(folder, "case03")
    assert case.name == "case03"
    for image in (case.fixed, case.moving):
        assert (image.grid.axes.diagonal() > 0.8).all()
        assert image.data.dtype == torch.float32
        assert (image.data.min(), image.data.max()) == (0, 1)
    assert case.gland.grid == case.fixed.grid


def test_the_gland_is_label_1_and_its_surface_lies_around_it(folder):
    case = read_case(folder, "case03")
    assert case.gland.data.unique().tolist() == [0, 1]
    relative = (case.surface - CENTRE) / RADII
    distance = np.linalg.norm(relative, axis=1)
    assert ((distance > 0.7) & (distance <= 1)).mean() > 0.98  # the rest is the landmark's hole
    assert (np.ptp(case.surface, axis=0) > 1.6 * RADII).all()


def test_the_reference_maps_fixed_to_moving_points(folder):
    case = read_case(folder, "case03")
    assert isinstance(case.reference, RigidTransform)
    np.testing.assert_allclose(case.to_moving, REFERENCE.homogeneous, atol=1e-9)
    itk = sitk.ReadTransform(str(folder / "case03_reference.tfm"))
    for point in case.surface[::50]:
        np.testing.assert_allclose(case.reference(point), itk.TransformPoint(point.tolist()), atol=1e-9)
    # The same anatomy at both ends, whatever the two files' axes.
    values = []
    for image, points in ((case.fixed, case.surface), (case.moving, case.reference(case.surface))):
        index = image.grid.to_index(points).round().astype(int)
        values.append(image.data[tuple(index[:, ::-1].T)].numpy())
    assert np.corrcoef(*values)[0, 1] > 0.9


def test_missing_files_are_named(folder):
    with pytest.raises(ValueError, match=r"fixed: no such file: .*case04_mri\.nii\.gz"):
        read_cases(folder, ["case03", "case04"])
    with pytest.raises(ValueError, match=r"data: there is no folder .*nowhere; name the one that holds"):
        read_cases(folder / "nowhere", ["case03"])


def test_a_reference_that_bends_is_refused(folder):
    field = sitk.Image([4, 4, 4], sitk.sitkVectorFloat64)
    sitk.WriteTransform(sitk.DisplacementFieldTransform(field), str(folder / "case03_reference.tfm"))
    with pytest.raises(ValueError, match="reference: expected a rigid transform for case03, got DenseTransform"):
        read_case(folder, "case03")


@pytest.mark.data
def test_real_cases(data_folder):
    for case in read_cases(data_folder / "prostate", ["case00", "case07"]):
        assert sorted(case.fixed.grid.size) == [60, 64, 64]
        assert 500 < len(case.surface) < 20_000
        assert (np.ptp(case.surface, axis=0) > 15).all()
        assert isinstance(case.reference, RigidTransform)
        assert 1 < sre(case.surface, AffineTransform.identity(3), case.reference) < 40
