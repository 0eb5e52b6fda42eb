"""Files: images and transforms come back as they went, SimpleITK agrees, and bad files are named in one sentence."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image
from regcore.integrity import spacings
from regcore.io import (
    from_sitk,
    read_image,
    read_labels,
    read_transform,
    silence_itk,
    to_sitk,
    transform_from_sitk,
    write_image,
    write_transform,
)
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, RigidTransform, Transform

SINGLE_FILES = [".nii.gz", ".nii", ".nrrd", ".mha"]
PIXEL_TYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"]


def _ramp(grid: Grid, pixel_type: str) -> Image:
    data = torch.arange(int(np.prod(grid.size))).reshape(grid.shape) % 120
    return Image(data.float() if pixel_type.startswith("float") else data.int(), grid, pixel_type)


@pytest.mark.parametrize("suffix", SINGLE_FILES)
def test_images_come_back_as_they_went(awkward_grid: Grid, tmp_path: Path, suffix: str) -> None:
    image = _ramp(awkward_grid, "int16")
    write_image(image, tmp_path / f"image{suffix}")
    again = read_image(tmp_path / f"image{suffix}")
    assert torch.equal(again.data.int(), image.data)
    assert again.grid.same_as(image.grid)
    assert again.pixel_type == "int16"
    assert [p.name for p in tmp_path.iterdir()] == [f"image{suffix}"]


@pytest.mark.parametrize("pixel_type", PIXEL_TYPES)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_pixel_types_survive(tmp_path: Path, pixel_type: str, suffix: str) -> None:
    image = _ramp(Grid.of((5, 6, 7)), pixel_type)
    write_image(image, tmp_path / f"image{suffix}")
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"image{suffix}"))).dtype == pixel_type
    again = read_image(tmp_path / f"image{suffix}")
    assert again.pixel_type == pixel_type
    assert again.data.is_floating_point() == pixel_type.startswith("float")
    assert torch.equal(again.data.double(), image.data.double())


@pytest.mark.parametrize("pixel_type", ["uint8", "int16", "uint16"])
def test_every_value_of_an_integer_type_survives(tmp_path: Path, pixel_type: str) -> None:
    limits = np.iinfo(pixel_type)
    array = np.linspace(limits.min, limits.max, 64).astype(pixel_type).reshape(4, 4, 4)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "in.nii.gz"))
    write_image(read_image(tmp_path / "in.nii.gz"), tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz"))), array)


def test_interpolated_values_are_rounded_and_clipped_to_an_integer_type() -> None:
    image = Image(torch.tensor([[-3.0, 1.6], [254.4, 300.0]]), Grid.of((2, 2)), "uint8")
    assert sitk.GetArrayFromImage(to_sitk(image)).tolist() == [[0, 2], [254, 255]]


def test_a_voxel_lies_where_itk_says(awkward_grid: Grid, as_itk) -> None:
    source = as_itk(_ramp(awkward_grid, "int16"))
    image = from_sitk(source)
    index = tuple(n // 3 + axis for axis, n in enumerate(awkward_grid.size))
    assert int(image.data[index[::-1]]) == source[index]
    np.testing.assert_allclose(image.grid.to_world(index), source.TransformIndexToPhysicalPoint(index), atol=1e-9)


def test_dicom_series_is_read_as_one_volume(tmp_path: Path) -> None:
    volume = np.arange(5 * 12 * 10, dtype=np.int16).reshape(5, 12, 10)
    _write_series(tmp_path, volume, "1.2.826.0.1.3680043.2.1125.1")
    image = read_image(tmp_path, "fixed")
    assert image.grid.size == (10, 12, 5)
    np.testing.assert_allclose(image.grid.spacing, (0.8, 1.2, 2.5), atol=1e-6)
    np.testing.assert_allclose(image.grid.origin, (-20, 30, 100), atol=1e-6)
    np.testing.assert_array_equal(image.data.numpy(), volume)
    _write_series(tmp_path, volume, "1.2.826.0.1.3680043.2.1125.2")
    with pytest.raises(ValueError, match=r"fixed: .* holds 2 DICOM series"):
        read_image(tmp_path, "fixed")


def _write_series(folder: Path, volume: np.ndarray, series: str) -> None:
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, plane in enumerate(volume):
        image = sitk.GetImageFromArray(plane)
        image.SetSpacing((0.8, 1.2))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"{series}.{number + 1}",
            "0008|0060": "MR",
            "0018|0050": "2.5",
            "0018|0088": "2.5",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|000e": series,
            "0020|0013": str(number + 1),
            "0020|0032": f"-20\\30\\{100 + 2.5 * number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        # File names run against the slices, so that only the positions can put them in order.
        writer.SetFileName(str(folder / f"{series[-1]}-{len(volume) - number:02d}.dcm"))
        writer.Execute(image)


def test_a_nifti_file_of_several_gzip_members_is_whole(tmp_path: Path) -> None:
    image = _ramp(Grid.of((5, 6, 7)), "uint8")
    write_image(image, tmp_path / "plain.nii")
    raw = (tmp_path / "plain.nii").read_bytes()
    packed = tmp_path / "members.nii.gz"
    packed.write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]))
    assert torch.equal(read_image(packed).data, image.data.to(torch.uint8))
    packed.write_bytes(gzip.compress(raw[:400]))
    with pytest.raises(ValueError, match="ends before its last voxel"):
        read_image(packed)


def test_labels_are_whole_numbers_of_64_bits(tmp_path: Path) -> None:
    image = _ramp(Grid.of((5, 4, 3)), "float32")
    write_image(image, tmp_path / "labels.nii.gz")
    labels = read_labels(tmp_path / "labels.nii.gz")
    assert (labels.data.dtype, labels.pixel_type) == (torch.int64, "int32")
    assert torch.equal(labels.data, image.data.long())
    write_image(image.with_data(image.data + 0.5), tmp_path / "image.nii.gz")
    with pytest.raises(ValueError, match=r"fixed labels: expected whole numbers in image.nii.gz"):
        read_labels(tmp_path / "image.nii.gz", "fixed labels")


def _missing(folder: Path) -> Path:
    return folder / "nothing.nii.gz"


def _text(folder: Path) -> Path:
    path = folder / "text.nii.gz"
    path.write_text("not an image\n" * 50)
    return path


def _truncated(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        values = np.random.default_rng(0).integers(0, 255, (20, 20, 20), dtype=np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / name))
        (folder / name).write_bytes((folder / name).read_bytes()[:4000])
        return folder / name

    return make


def _colour(folder: Path) -> Path:
    path = folder / "colour.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((8, 9, 3), np.uint8), isVector=True), str(path))
    return path


def _array_file(name: str, array: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(folder / name))
        return folder / name

    return make


def _empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


BAD_FILES = {
    "missing": (_missing, "no such file"),
    "text": (_text, "not an image that can be read"),
    "truncated": (_truncated("half.nii.gz"), "ends before its last voxel"),
    "truncated, not packed": (_truncated("half.nii"), "ends before its last voxel"),
    "truncated NRRD": (_truncated("half.nrrd"), "not an image that can be read"),
    "colour": (_colour, "got 3 .*convert it to grey"),
    "four dimensions": (_array_file("time.nii.gz", np.zeros((3, 4, 5, 6), np.uint8)), "got 4D; extract one volume"),
    "one slice": (_array_file("slice.nii.gz", np.zeros((1, 9, 8), np.uint8)), "one slice of a volume"),
    "complex": (_array_file("complex.nii.gz", np.zeros((4, 5, 6), np.complex64)), "complex numbers"),
    "empty folder": (_empty_folder, "holds no DICOM series"),
}


@pytest.mark.parametrize(("make", "complaint"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_images_are_refused_in_one_sentence(tmp_path: Path, make, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"moving: .*{complaint}") as caught:
        read_image(make(tmp_path), "moving")
    assert "\n" not in str(caught.value)


def _chain(grid: Grid, smooth_field) -> dict[str, Transform]:
    dim = grid.dim
    matrix = np.eye(dim) + np.random.default_rng(5).normal(0, 0.1, (dim, dim))
    affine = AffineTransform.of(matrix, np.arange(1, dim + 1), grid.centre)
    rigid = RigidTransform.from_euler([20.0] if dim == 2 else [10, 20, -30], [3.0] * dim, grid.centre)
    dense = DenseTransform(smooth_field(grid, 5.0, 6))
    return {"affine": affine, "rigid": rigid, "dense": dense, "composite": CompositeTransform((dense, affine, rigid))}


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
@pytest.mark.parametrize("kind", ["affine", "rigid", "dense", "composite"])
def test_written_transforms_map_points_alike_in_itk_and_here(
    awkward_grid: Grid, smooth_field, tmp_path: Path, kind: str, suffix: str
) -> None:
    ours = _chain(awkward_grid, smooth_field)[kind]
    path = tmp_path / f"transform{suffix}"
    write_transform(ours, path)
    itk, again = sitk.ReadTransform(str(path)), read_transform(path, awkward_grid)
    limits = np.asarray(awkward_grid.size) - 1
    points = awkward_grid.to_world(np.random.default_rng(0).uniform(0, 1, (30, awkward_grid.dim)) * limits)
    assert np.abs(ours(points) - points).max() > 1
    np.testing.assert_allclose([itk.TransformPoint(p.tolist()) for p in points], ours(points), atol=1e-4)
    np.testing.assert_allclose(again(points), ours(points), atol=1e-4)
    assert type(again) is type(ours)


ITK_KINDS = {
    "affine": sitk.AffineTransform(3),
    "euler": sitk.Euler3DTransform((5, 6, 7), 0.3, -0.2, 0.1, (1, 2, 3)),
    "versor": sitk.VersorTransform((1, 2, 2), 0.4, (5, 6, 7)),
    "versor rigid": sitk.VersorRigid3DTransform((1, 2, 2), 0.4, (1, 2, 3), (5, 6, 7)),
    "similarity": sitk.Similarity3DTransform(1.2, (1, 2, 2), 0.4, (1, 2, 3), (5, 6, 7)),
    "scale": sitk.ScaleTransform(3, (1.1, 0.9, 1.3)),
    "scale versor": sitk.ScaleVersor3DTransform((1.1, 0.9, 1.3), (0.5, 0.5, 0.5, 0.5), (1, 2, 3), (5, 6, 7)),
    "translation": sitk.TranslationTransform(3, (4, -5, 6)),
    "identity": sitk.Transform(3, sitk.sitkIdentity),
    "similarity in the plane": sitk.Similarity2DTransform(1.2, 0.3, (1, 2), (5, 6)),
}


@pytest.mark.parametrize("itk", ITK_KINDS.values(), ids=ITK_KINDS)
def test_linear_kinds_of_itk_are_taken_over_exactly(itk: sitk.Transform, tmp_path: Path) -> None:
    itk = itk.Downcast()
    if isinstance(itk, sitk.ScaleTransform):
        itk.SetCenter((5, 6, 7))
    sitk.WriteTransform(itk, str(tmp_path / "t.tfm"))
    # The grid is far away: a linear map must not depend on where it would be sampled.
    grid = Grid.of([4] * itk.GetDimension(), origin=[500.0] * itk.GetDimension())
    ours = read_transform(tmp_path / "t.tfm", grid)
    assert isinstance(ours, AffineTransform)
    for point in np.random.default_rng(0).normal(0, 40, (10, grid.dim)):
        np.testing.assert_allclose(ours(point), itk.TransformPoint(point.tolist()), atol=1e-9)


def test_a_b_spline_is_sampled_on_the_grid(awkward_grids) -> None:
    grid = awkward_grids["rotated"]
    reference = sitk.Image(list(grid.size), sitk.sitkUInt8)
    reference.SetSpacing(grid.spacing)
    reference.SetOrigin(grid.origin)
    reference.SetDirection(grid.direction)
    spline = sitk.BSplineTransformInitializer(reference, [4, 4, 4])
    spline.SetParameters(np.random.default_rng(0).normal(0, 3, len(spline.GetParameters())).tolist())
    ours = transform_from_sitk(spline, grid)
    for index in np.random.default_rng(1).integers(1, 17, (10, 3)):
        point = grid.to_world(index)
        np.testing.assert_allclose(ours(point), spline.TransformPoint(point.tolist()), atol=1e-3)


def test_nested_composites_keep_their_order() -> None:
    shift, turn = sitk.TranslationTransform(2, (10, 0)), sitk.Euler2DTransform((0, 0), np.pi / 2)
    inner = sitk.CompositeTransform([turn, shift])
    outer = sitk.CompositeTransform([sitk.TranslationTransform(2, (0, 3)), inner])
    ours = transform_from_sitk(outer, Grid.of((4, 4)))
    np.testing.assert_allclose(ours((1.0, 2.0)), outer.TransformPoint((1.0, 2.0)), atol=1e-9)


def test_a_rotation_of_single_precision_can_be_written(tmp_path: Path) -> None:
    rotation = RigidTransform.from_euler((33, -21, 57), (0, 0, 0)).matrix.astype(np.float32)
    rigid = RigidTransform.of(rotation, (1, 2, 3), (50, 60, 70))
    write_transform(rigid, tmp_path / "rigid.tfm")
    itk = sitk.ReadTransform(str(tmp_path / "rigid.tfm"))
    np.testing.assert_allclose(itk.TransformPoint((100.0, -80.0, 90.0)), rigid((100.0, -80.0, 90.0)), atol=1e-4)


@pytest.mark.parametrize("angles", [(20, 90, 0), (20, -90, 35)])
def test_a_rotation_where_euler_angles_fail_can_be_written(tmp_path: Path, angles) -> None:
    rigid = RigidTransform.from_euler(angles, (1, 2, 3))
    write_transform(rigid, tmp_path / "rigid.h5")
    itk = sitk.ReadTransform(str(tmp_path / "rigid.h5"))
    np.testing.assert_allclose(itk.TransformPoint((10.0, -8.0, 9.0)), rigid((10.0, -8.0, 9.0)), atol=1e-4)


def _bad_transform(name: str, text: str | None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        if text is not None:
            (folder / name).write_text(text)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (_bad_transform("nothing.h5", None), "no such file"),
        (_bad_transform("text.h5", "no transform"), "not a transform"),
        (_bad_transform("text.tfm", "no transform"), "not a transform"),
        (_bad_transform("image.nii", "no transform"), "not a transform"),
    ],
)
def test_bad_transforms_are_refused_in_one_sentence(tmp_path: Path, make, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"init: .*{complaint}") as caught:
        read_transform(make(tmp_path), Grid.of((4, 4, 4)), "init")
    assert "\n" not in str(caught.value)


def test_a_field_with_numbers_that_are_none_is_refused(tmp_path: Path) -> None:
    grid = Grid.of((4, 5, 6))
    field = DisplacementField(torch.zeros(3, *grid.shape), grid)
    field.data[1, 2, 3, 1] = torch.nan
    write_transform(DenseTransform(field), tmp_path / "t.h5")
    with pytest.raises(ValueError, match="expected finite displacements, found NaN or infinity"):
        read_transform(tmp_path / "t.h5", grid)


def test_a_transform_of_another_dimension_is_refused(tmp_path: Path) -> None:
    write_transform(AffineTransform.identity(2), tmp_path / "plane.tfm")
    with pytest.raises(ValueError, match=r"expected a 3D transform, plane\.tfm is 2D"):
        read_transform(tmp_path / "plane.tfm", Grid.of((4, 4, 4)))


@pytest.mark.parametrize("name", ["image.nii.gz", "transform.h5"])
@pytest.mark.parametrize("place", ["a file in the folder's place", "no folder"])
def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path, name: str, place: str) -> None:
    folder = tmp_path / "results"
    if place != "no folder":
        folder.write_text("here first")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=rf"{name}: cannot be written to .*results"):
        _write(name, folder)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["image.unknown", "transform.unknown"])
def test_an_unknown_kind_of_file_is_said_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown: .*ending one that ITK knows"):
        _write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_writing_again_replaces_the_file_whole(tmp_path: Path) -> None:
    image = _ramp(Grid.of((5, 6, 7)), "uint8")
    write_image(image, tmp_path / "image.nii.gz")
    write_image(image.with_data(image.data + 1), tmp_path / "image.nii.gz")
    assert torch.equal(read_image(tmp_path / "image.nii.gz").data, (image.data + 1).to(torch.uint8))
    assert len(list(tmp_path.iterdir())) == 1


def _write(name: str, folder: Path) -> None:
    if name.startswith("image"):
        write_image(_ramp(Grid.of((4, 5, 6)), "uint8"), folder / name)
    else:
        write_transform(AffineTransform.identity(3), folder / name)


def test_itk_can_be_silenced() -> None:
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    try:
        sitk.ProcessObject.SetGlobalWarningDisplay(True)
        silence_itk()
        assert not sitk.ProcessObject.GetGlobalWarningDisplay()
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_spacing_is_read_from_either_nifti_header(tmp_path, version, order):
    size = 348 if version == 1 else 540
    header = bytearray(size)
    header[:4] = np.array([size], f"{order}i4").tobytes()
    kind, offset = (f"{order}f4", 76) if version == 1 else (f"{order}f8", 104)
    values = np.array([1, 0.5, 0.75, 0, 9], kind).tobytes()
    header[offset : offset + len(values)] = values
    path = tmp_path / "header.nii"
    path.write_bytes(header)
    assert spacings(path, 3) == [0.5, 0.75, 0.0]
