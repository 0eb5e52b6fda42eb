"""Where frames lie: slices of planes in any direction, volumes over time, and what is put back into their files."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import VolumeSeries, read_series, to_sitk, transform_to_sitk, write_series
from regcore.series_layout import Plane, SeriesLayout
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, RigidTransform

from ..conftest import GRIDS

COUNT = 3
PLANES = [name for name, grid in GRIDS.items() if grid.dim == 3]


def slice_grid(name: str) -> Grid:
    turned = GRIDS[name]
    return Grid.of((14, 11, 1), (1.2, 1.5, 8.0), (21.0, -34.0, 57.0), turned.axes)


def volumes(grid: Grid) -> VolumeSeries:
    noise = torch.rand((COUNT, *grid.shape), generator=torch.Generator().manual_seed(1))
    return VolumeSeries(tuple(Image(voxels, grid) for voxels in noise), 5.0, 40.0)


def flat_transforms(grid: Grid) -> list:
    """Return transforms within a plane of which `grid` is the 2D grid, of every kind that a registration makes."""
    turned = RigidTransform.from_euler([7.0], [1.0, -0.5], grid.centre)
    stretched = AffineTransform.of([[1.1, 0.05], [-0.02, 0.9]], [0.4, 0.8], grid.centre)
    coarse = Grid.of((6, 5), (2.9, 3.4), grid.origin, [[-1.0, 0.0], [0.0, 1.0]])
    fields = [
        DisplacementField(torch.rand((2, *there.shape), generator=torch.Generator().manual_seed(2)), there)
        for there in (grid, coarse)
    ]
    dense = [DenseTransform(field) for field in fields]
    return [turned, stretched, *dense, CompositeTransform((turned, dense[0]))]


@pytest.mark.parametrize("name", PLANES)
def test_a_transform_of_the_plane_moves_points_of_space_likewise(name):
    plane = Plane(slice_grid(name))
    frame = plane.cut(volumes(plane.grid).volumes[0])
    index = np.stack(np.meshgrid(np.arange(2.0, 12.0), np.arange(2.0, 9.0)), -1).reshape(-1, 2)
    there = plane.grid.to_world(np.column_stack([index, np.zeros(len(index))]))
    for flat in flat_transforms(frame.grid):
        wanted = frame.grid.to_index(flat(frame.grid.to_world(index)))
        lifted = plane.lift_transform(flat)
        assert type(lifted) is type(flat)
        for found in (lifted(there), [transform_to_sitk(lifted).TransformPoint(point) for point in there.tolist()]):
            moved = plane.grid.to_index(found)
            np.testing.assert_allclose(moved[:, :2], wanted, atol=2e-4)
            np.testing.assert_allclose(moved[:, 2], 0, atol=1e-5)


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_volumes_over_time_come_back_where_they_lay(name, ending, tmp_path):
    series = volumes(slice_grid(name))
    write_series(series, tmp_path / f"series.{ending}")
    itk = sitk.ReadImage(str(tmp_path / f"series.{ending}"))
    assert itk.GetSize() == (14, 11, 1, COUNT)
    again = read_series(tmp_path / f"series.{ending}")
    assert (again.start, again.step) == (5.0, 40.0)
    layout = SeriesLayout.of(again)
    assert layout.in_space
    assert [frame.dim for frame in layout.frames] == [2] * COUNT
    back = layout.together(layout.frames)
    for volume, stored in zip(back.volumes, series.volumes, strict=True):
        assert volume.grid.same_as(stored.grid)
        assert torch.equal(volume.data, stored.data)


def test_what_slicer_stores_for_a_sequence_is_read(tmp_path):
    series = volumes(slice_grid("rotated"))
    image = sitk.Compose([to_sitk(volume) for volume in series.volumes])
    image.SetMetaData("NRRD_kinds[pixel]", "list")
    sitk.WriteImage(image, str(tmp_path / "vectors.nrrd"))
    content = (tmp_path / "vectors.nrrd").read_bytes()
    (tmp_path / "cine.seq.nrrd").write_bytes(content.replace(b"kinds: vector", b"kinds: list", 1))
    again = read_series(tmp_path / "cine.seq.nrrd")
    assert again.volumes[0].grid.same_as(series.volumes[0].grid)
    assert [torch.equal(a.data, b.data) for a, b in zip(again.volumes, series.volumes, strict=True)] == [True] * COUNT
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "vectors.nrrd")), str(tmp_path / "colour.nii.gz"))
    with pytest.raises(ValueError, match="colour or vectors"):
        read_series(tmp_path / "colour.nii.gz")


def test_volumes_of_several_slices_are_registered_as_they_are():
    series = volumes(GRIDS["rotated"])
    layout = SeriesLayout.of(series)
    assert layout.frames == series.volumes
    assert layout.transform(shift := AffineTransform.identity(3)) is shift
    assert layout.together(layout.frames).volumes == series.volumes


def test_a_file_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one slice of a volume"):
        SeriesLayout.of(VolumeSeries(volumes(slice_grid("plain")).volumes[:1]))
    sideways = Grid.of((1, 11, 14), (8.0, 1.2, 1.5))
    write_series(volumes(sideways), tmp_path / "sideways.nrrd")
    with pytest.raises(ValueError, match="slices in the first two axes"):
        read_series(tmp_path / "sideways.nrrd")
