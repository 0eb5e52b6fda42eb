"""What the tests share: the real data's folder, awkward grids, smooth fields and images, SimpleITK's view of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from regcore.field import DisplacementField
from regcore.grid import Grid, Matrix
from regcore.image import Image
from regcore.transform import RigidTransform

Blob = Callable[..., Image]
SmoothField = Callable[..., DisplacementField]

PROJECT = Path(__file__).resolve().parents[1]


def _turned(*angles_deg: float) -> Matrix:
    return RigidTransform.from_euler(angles_deg, [0.0] * (2 if len(angles_deg) == 1 else 3)).matrix


def _around(size: tuple[int, ...], spacing: tuple[float, ...], centre: tuple[float, ...], axes: Matrix) -> Grid:
    half = axes @ ((np.asarray(size) - 1) / 2 * np.asarray(spacing))
    return Grid.of(size, spacing, np.asarray(centre) - half, axes)


# All 3D grids cover about the same 40 mm of space, and so do the 2D ones: each may be fixed to any other's moving.
GRIDS = {
    "plain": _around((38, 40, 42), (1.0, 1.0, 1.0), (-30, 12, 105), np.eye(3)),
    "flipped": _around((30, 26, 28), (1.4, 1.6, 1.5), (-31, 13, 104), np.diag([-1.0, -1.0, 1.0])),
    "permuted": _around((24, 30, 36), (1.8, 1.4, 1.2), (-29, 12, 105), np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]])),
    "rotated": _around((36, 30, 18), (1.1, 1.4, 2.3), (-30, 11, 106), _turned(12, -25, 40)),
    "mirrored": _around((28, 40, 16), (1.5, 1.0, 2.6), (-31, 12, 105), _turned(-100, 8, 15) @ np.diag([1, 1, -1])),
    "plane": _around((44, 38), (1.0, 1.0), (21, -14), np.eye(2)),
    "plane_rotated": _around((40, 28), (1.1, 1.6), (20, -15), _turned(33) @ np.diag([1, -1])),
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Keep torch to one thread: the tests' tensors are small, and threads waiting for a busy core cost four times."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_models_of_ones_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep models that the user has imported away from the tests, in other processes too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGCORE_MODELS", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the real images."""
    folder = Path(os.environ.get("REGCORE_DATA", PROJECT.parent / "shared" / "data"))
    if not (folder / "brain").is_dir():
        pytest.skip(f"no real images in {folder}; set REGCORE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def awkward_grids() -> dict[str, Grid]:
    """Every awkward grid by name: rotated, anisotropic, flipped, permuted, offset; 2D and 3D."""
    return GRIDS


@pytest.fixture(scope="session", params=GRIDS.values(), ids=GRIDS)
def awkward_grid(request: pytest.FixtureRequest) -> Grid:
    """One awkward grid after the other."""
    grid: Grid = request.param
    return grid


@pytest.fixture(
    scope="session",
    params=[("rotated", "permuted"), ("flipped", "mirrored"), ("plane_rotated", "plane")],
    ids=lambda pair: "-".join(pair),
)
def grid_pair(request: pytest.FixtureRequest) -> tuple[Grid, Grid]:
    """A fixed and a moving grid that share space but not one axis."""
    fixed, moving = request.param
    return GRIDS[fixed], GRIDS[moving]


@pytest.fixture(scope="session")
def blob() -> Blob:
    """Function ``(grid, offset_mm, sigma)``: a Gaussian, ``offset_mm`` in the world from the grid's centre."""

    def make(grid: Grid, offset_mm: tuple[float, ...] | None = None, sigma: float = 4.0) -> Image:
        centre = torch.as_tensor(grid.centre + (0.0 if offset_mm is None else np.asarray(offset_mm)))
        squared = (grid.points() - centre).square().sum(-1)
        return Image((100 * torch.exp(-squared / (2 * sigma**2))).float(), grid)

    return make


@pytest.fixture(scope="session")
def smooth_field() -> SmoothField:
    """Function ``(grid, amplitude_mm, seed, taper)``: a smooth random displacement with that largest length."""

    def make(grid: Grid, amplitude_mm: float, seed: int = 0, taper: bool = False) -> DisplacementField:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn((1, grid.dim, *[4] * grid.dim), generator=generator)
        mode = "bicubic" if grid.dim == 2 else "trilinear"
        data = F.interpolate(coarse, size=grid.shape, mode=mode, align_corners=True)[0]
        for _ in range(2):
            pool = F.avg_pool2d if grid.dim == 2 else F.avg_pool3d
            data = pool(data[None], 5, stride=1, padding=2, count_include_pad=False)[0]
        if taper:
            for axis, n in enumerate(grid.shape):
                window = torch.sin(torch.linspace(0, np.pi, n)).square()
                data = data * window.reshape(-1, *[1] * (grid.dim - 1 - axis))
        return DisplacementField(data / data.norm(dim=0).max() * amplitude_mm, grid)

    return make


@pytest.fixture(scope="session")
def as_itk() -> Callable[[Image | DisplacementField], sitk.Image]:
    """Function giving SimpleITK's form of an image or field, written without the package's own conversion."""

    def make(of: Image | DisplacementField) -> sitk.Image:
        vectors = isinstance(of, DisplacementField)
        array = of.data.movedim(0, -1).double().numpy() if vectors else of.data.numpy()
        image = sitk.GetImageFromArray(array, isVector=vectors)
        image.SetSpacing(of.grid.spacing)
        image.SetOrigin(of.grid.origin)
        image.SetDirection(of.grid.direction)
        return image

    return make


def _interior(values: torch.Tensor, margin: int, dim: int) -> torch.Tensor:
    return values[(..., *[slice(margin, -margin)] * dim)]


@pytest.fixture(scope="session")
def interior() -> Callable[[torch.Tensor, int, int], torch.Tensor]:
    """Function ``(values, margin, dim)``: the last ``dim`` axes without ``margin`` voxels at each end."""
    return _interior
