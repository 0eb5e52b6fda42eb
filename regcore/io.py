"""Reading and writing images and ITK transforms. Files are written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from regcore.atomic import replacing
from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image
from regcore.integrity import all_finite, holds_bytes, spacings
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, RigidTransform, Transform

_NO_SPACING = "{name}: the voxels in {file} have a spacing of 0 along an axis; correct its header or export it again"
_KIND = "NRRD_kinds[pixel]"
_NIFTI_FLOATS = ("16", "64")
_WIDER = {np.dtype("uint16"): np.int32, np.dtype("uint32"): np.int64, np.dtype("uint64"): np.int64}
_RIGID = (sitk.Euler2DTransform, sitk.Euler3DTransform, sitk.VersorTransform, sitk.VersorRigid3DTransform)
_LINEAR = (
    *_RIGID,
    sitk.AffineTransform,
    sitk.ScaleTransform,
    sitk.Similarity2DTransform,
    sitk.Similarity3DTransform,
    sitk.ScaleVersor3DTransform,
    sitk.ScaleSkewVersor3DTransform,
)


@dataclass(frozen=True)
class VolumeSeries:
    """Volumes over time on one grid, as a 4D file holds them.

    Attributes:
        volumes: frame by frame; that of a single slice has one voxel along its last axis.
        start: time of the first frame.
        step: from one to the next, both in the unit that ITK reads (NIfTI: s).
    """

    volumes: tuple[Image, ...]
    start: float = 0.0
    step: float = 1.0

    def with_volumes(self, volumes: Sequence[Image]) -> VolumeSeries:
        """Return other volumes at the same times."""
        return replace(self, volumes=tuple(volumes))


def silence_itk() -> None:
    """Keep ITK's own warnings off the terminal; what matters comes back as an error."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)


def read_image(path: str | Path, name: str = "image") -> Image:
    """Read a scalar 2D or 3D image: NIfTI, NRRD, MetaImage, any file ITK knows, or a folder with one DICOM series.

    Args:
        path: file or folder.
        name: what to call it in messages.

    Returns:
        The image; integer pixels stay integers.

    Raises:
        ValueError: the file is missing, no image, a colour image, not 2D or 3D, or a single slice of a volume.
    """
    return from_sitk(_read(Path(path), name), name)


def read_labels(path: str | Path, name: str = "labels") -> Image:
    """Read a label map or mask; see `read_image`.

    Raises:
        ValueError: as `read_image`, or when a label is not a whole number.
    """
    return as_labels(read_image(path, name), Path(path).name, name)


def as_labels(image: Image, file: str, name: str = "labels") -> Image:
    """Take an image for a label map; ``file`` is said in the message.

    Raises:
        ValueError: a label is not a whole number.
    """
    whole = image.data.round()
    if image.data.is_floating_point() and not bool(torch.equal(whole, image.data)):
        raise ValueError(f"{name}: expected whole numbers in {file}, found fractions; pass a label map")
    pixel_type = image.pixel_type if not image.data.is_floating_point() else "int32"
    return image.with_data(whole.to(torch.int64), pixel_type)


def read_series(path: str | Path, name: str = "series") -> Image | VolumeSeries:
    """Read an image as `read_image` does, or volumes over time: 4D, or NRRD with a list of values per voxel.

    Returns:
        A 2D or 3D image; the volumes of a 4D file; one volume for a single slice.

    Raises:
        ValueError: as `read_image`, or when the slices of a 4D file are but a voxel wide.
    """
    source = _read(Path(path), name)
    found = _volumes(source)
    if not found:
        return from_sitk(source, name)
    if min(found[0].GetSize()[:2]) < 2:
        raise ValueError(f"{name}: expected slices in the first two axes, got size {source.GetSize()}; reorder them")
    volumes = tuple(_taken(volume, name) for volume in found)
    timed = source.GetDimension() == 4
    return VolumeSeries(volumes, source.GetOrigin()[3], source.GetSpacing()[3]) if timed else VolumeSeries(volumes)


def write_series(series: Image | VolumeSeries, path: str | Path) -> None:
    """Write an image, or volumes over time as one 4D image; see `write_image`.

    Raises:
        ValueError: the file cannot be written.
    """
    if isinstance(series, Image):
        write_image(series, path)
        return
    source = sitk.JoinSeries([to_sitk(volume) for volume in series.volumes], series.start, series.step)
    _write(Path(path), lambda file: sitk.WriteImage(source, file, useCompression=True, compressionLevel=1))


def write_image(image: Image, path: str | Path) -> None:
    """Write an image with its own pixel type (rounded and clipped for integers).

    Raises:
        ValueError: the file cannot be written.
    """
    source = to_sitk(image)
    _write(Path(path), lambda file: sitk.WriteImage(source, file, useCompression=True, compressionLevel=1))


def from_sitk(source: sitk.Image, name: str = "image") -> Image:
    """Take over a SimpleITK image; see `read_image` for what is refused."""
    if source.GetNumberOfComponentsPerPixel() != 1:
        count = source.GetNumberOfComponentsPerPixel()
        raise ValueError(f"{name}: expected one value per voxel, got {count} (colour or vectors); convert it to grey")
    if source.GetDimension() not in (2, 3):
        raise ValueError(f"{name}: expected a 2D or 3D image, got {source.GetDimension()}D; extract one volume")
    if min(source.GetSize()) < 2:
        raise ValueError(
            f"{name}: expected a volume or a 2D image, got size {source.GetSize()}: one slice of a volume; "
            "pass the whole series, or save the slice as a 2D image"
        )
    return _taken(source, name)


def _taken(source: sitk.Image, name: str) -> Image:
    array = sitk.GetArrayFromImage(source)
    if np.iscomplexobj(array):
        raise ValueError(f"{name}: expected real voxels, got complex numbers; pass the magnitude")
    pixel_type = str(array.dtype)
    array = array.astype(_WIDER.get(array.dtype, array.dtype), copy=False)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    return Image(torch.from_numpy(array), _grid_of(source), pixel_type)


def to_sitk(image: Image) -> sitk.Image:
    """Return a SimpleITK image with the pixel type the image had on file."""
    array, dtype = image.data.numpy(), np.dtype(image.pixel_type)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        if np.issubdtype(array.dtype, np.floating):
            array = np.rint(array)
        array = np.clip(array, limits.min, limits.max)
    return _on_grid(sitk.GetImageFromArray(array.astype(dtype)), image.grid)


def read_transform(path: str | Path, grid: Grid, name: str = "transform") -> Transform:
    """Read an ITK transform (.h5, .tfm, .txt, .mat).

    Args:
        path: the file.
        grid: where to sample kinds that are neither linear nor a displacement field (B-splines, for one).
        name: what to call it in messages.

    Raises:
        ValueError: the file is missing, not a transform, or of another dimension than ``grid``.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{name}: no such file: {path}")
    try:
        source = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise ValueError(f"{name}: {path.name} is not a transform that ITK can read") from error
    if source.GetDimension() != grid.dim:
        raise ValueError(f"{name}: expected a {grid.dim}D transform, {path.name} is {source.GetDimension()}D")
    return transform_from_sitk(source, grid)


def transform_from_sitk(source: sitk.Transform, grid: Grid) -> Transform:
    """Take over a SimpleITK transform; see `read_transform`.

    Raises:
        ValueError: its numbers are not finite.
    """
    source = source.Downcast()
    if isinstance(source, sitk.CompositeTransform):
        # ITK applies the transform that was added last first.
        parts = [source.GetNthTransform(n) for n in reversed(range(source.GetNumberOfTransforms()))]
        chain = tuple(transform_from_sitk(part, grid) for part in parts)
        return chain[0] if len(chain) == 1 else CompositeTransform(chain)
    if isinstance(source, _LINEAR):
        return _linear_from_sitk(source)
    if isinstance(source, sitk.TranslationTransform):
        return AffineTransform.of(np.eye(grid.dim), source.GetOffset())
    if source.GetTransformEnum() == sitk.sitkIdentity:
        return AffineTransform.identity(grid.dim)
    if isinstance(source, sitk.DisplacementFieldTransform):
        vectors = source.GetDisplacementField()
    else:
        size, spacing, origin, direction = grid.size, grid.spacing, grid.origin, grid.direction
        kind = sitk.sitkVectorFloat64
        vectors = sitk.TransformToDisplacementField(source, kind, size, origin, spacing, direction)
    data = torch.from_numpy(np.moveaxis(sitk.GetArrayFromImage(vectors), -1, 0).astype(np.float32))
    if not bool(torch.isfinite(data).all()):
        raise ValueError("transform: expected finite displacements, found NaN or infinity; make it again")
    return DenseTransform(DisplacementField(data, _grid_of(vectors)))


def write_transform(transform: Transform, path: str | Path) -> None:
    """Write an ITK transform (.h5, .tfm) that SimpleITK, ANTs and Slicer apply as it is.

    Raises:
        ValueError: the file cannot be written.
    """
    source = transform_to_sitk(transform)
    _write(Path(path), lambda file: sitk.WriteTransform(source, file))


def transform_to_sitk(transform: Transform) -> sitk.Transform:
    """Return the same map as a SimpleITK transform."""
    if isinstance(transform, CompositeTransform):
        chain = sitk.CompositeTransform(transform.dim)
        for part in reversed(transform.parts):
            chain.AddTransform(transform_to_sitk(part))
        return chain
    if isinstance(transform, AffineTransform):
        return _linear_to_sitk(transform)
    if isinstance(transform, DenseTransform):
        vectors = np.moveaxis(transform.field.data.numpy(), 0, -1).astype(np.float64)
        field = _on_grid(sitk.GetImageFromArray(vectors, isVector=True), transform.field.grid)
        return sitk.DisplacementFieldTransform(field)
    raise TypeError(f"transform: no ITK form for {type(transform).__name__}")


def _volumes(source: sitk.Image) -> list[sitk.Image]:
    """Return the volumes over time, or the single slice, that an image holds; none: it is an image of its own."""
    dim, scalar = source.GetDimension(), source.GetNumberOfComponentsPerPixel() == 1
    if dim == 4 and scalar:
        return [source[:, :, :, number] for number in range(source.GetSize()[3])]
    if dim == 3 and scalar and source.GetSize()[2] == 1:
        return [source]
    # Slicer stores a sequence so; colours and vectors are of other kinds.
    if dim == 3 and source.HasMetaDataKey(_KIND) and source.GetMetaData(_KIND) == "list":
        return [sitk.VectorIndexSelectionCast(source, n) for n in range(source.GetNumberOfComponentsPerPixel())]
    return []


def _write(path: Path, write: Callable[[str], None]) -> None:
    with replacing(path) as temporary:
        try:
            write(str(temporary))
        except RuntimeError as error:
            raise OSError(
                "is the folder writable, the disk not full, and the file's ending one that ITK knows?"
            ) from error


def _read(path: Path, name: str) -> sitk.Image:
    if path.is_dir():
        return _read_series(path, name)
    if not path.is_file():
        raise ValueError(f"{name}: no such file: {path}")
    try:
        source = sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            sentence = f"{name}: the axes in {path.name} are sheared or not of unit length; resample it first"
        elif "Zero-valued spacing" in str(error):
            sentence = _NO_SPACING.format(name=name, file=path.name)
        else:
            sentence = f"{name}: {path.name} is not an image that can be read (NIfTI, NRRD, MetaImage, DICOM folder)"
        raise ValueError(sentence) from error
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _check_nifti(path, source, name)
    return source


def _check_nifti(path: Path, source: sitk.Image, name: str) -> None:
    """ITK fills a truncated NIfTI file with zeros, makes NaN 0 and a spacing of 0 one of 1, and says nothing."""
    # Between volumes over time it says nothing: many programs leave it 0.
    if 0 in spacings(path, min(3, source.GetDimension())):
        raise ValueError(_NO_SPACING.format(name=name, file=path.name))
    bits, offset = int(source.GetMetaData("bitpix")), int(float(source.GetMetaData("vox_offset")))
    if not holds_bytes(path, offset + source.GetNumberOfPixels() * bits // 8):
        raise ValueError(f"{name}: {path.name} ends before its last voxel; copy or download it again")
    if source.GetMetaData("datatype") in _NIFTI_FLOATS and not all_finite(path, offset, bits):
        raise ValueError(f"{name}: expected finite voxels, found NaN or infinity; replace them and try again")


def _read_series(folder: Path, name: str) -> sitk.Image:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise ValueError(f"{name}: the folder {folder.name} holds no DICOM series")
    if len(series) > 1:
        raise ValueError(f"{name}: the folder {folder.name} holds {len(series)} DICOM series; keep one per folder")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    try:
        return sitk.ReadImage(files)
    except RuntimeError as error:
        raise ValueError(f"{name}: the DICOM series in {folder.name} cannot be read as one volume") from error


def _grid_of(source: sitk.Image) -> Grid:
    return Grid.of(source.GetSize(), source.GetSpacing(), source.GetOrigin(), _square(source.GetDirection()))


def _square(values: tuple[float, ...]) -> np.ndarray:
    dim = round(len(values) ** 0.5)
    return np.asarray(values, dtype=np.float64).reshape(dim, dim)


def _on_grid(target: sitk.Image, grid: Grid) -> sitk.Image:
    target.SetSpacing(grid.spacing)
    target.SetOrigin(grid.origin)
    target.SetDirection(grid.direction)
    return target


def _linear_from_sitk(source: sitk.Transform) -> AffineTransform:
    centre = np.asarray(source.GetCenter())
    # Not GetTranslation: versor and scale transforms have none.
    translation = np.asarray(source.TransformPoint(source.GetCenter())) - centre
    kind = RigidTransform if isinstance(source, _RIGID) else AffineTransform
    return kind(_square(source.GetMatrix()), translation, centre)


def _linear_to_sitk(transform: AffineTransform) -> sitk.Transform:
    dim, matrix = transform.dim, transform.matrix
    if isinstance(transform, RigidTransform):
        target = sitk.Euler3DTransform() if dim == 3 else sitk.Euler2DTransform()
        # ITK wants a rotation to 1e-10; one that was computed in float32 is a rotation to 1e-7.
        left, _, right = np.linalg.svd(np.asarray(matrix, dtype=np.float64))
        matrix = left @ right
    else:
        target = sitk.AffineTransform(dim)
    target.SetCenter(transform.centre.tolist())
    target.SetMatrix(matrix.ravel().tolist())
    target.SetTranslation(transform.translation.tolist())
    return target
