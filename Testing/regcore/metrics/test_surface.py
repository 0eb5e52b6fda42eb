"""Surface distances against brute force, MONAI and SimpleITK."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_distance import compute_average_surface_distance

from regcore.metrics.surface import bounding_box, surface_distances

SPACING = (0.7, 1.3, 2.5)


def _ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> torch.Tensor:
    grid = torch.stack(torch.meshgrid(*[torch.arange(n).float() for n in shape], indexing="ij"), dim=-1)
    return (((grid - torch.tensor(centre)) ** 2).sum(-1) <= radius**2).long()


def _brute_force(fixed: np.ndarray, warped: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    def surface(mask):
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(mask.ndim):
            for shift in (-1, 1):
                inner &= np.roll(padded, shift, axis)
        return np.argwhere(padded & ~inner) * spacing[::-1]

    a, b = surface(fixed), surface(warped)
    gaps = np.linalg.norm(a[:, None] - b[None], axis=-1)
    there, back = gaps.min(axis=1), gaps.min(axis=0)
    return max(np.percentile(there, 95), np.percentile(back, 95)), (there.mean() + back.mean()) / 2


SHAPES = {
    "apart": (_ball((16, 18, 20), (6, 8, 8), 4), _ball((16, 18, 20), (8, 9, 11), 3.2)),
    "at the border": (_ball((12, 12, 12), (0, 0, 0), 5), _ball((12, 12, 12), (11, 3, 0), 4)),
    "thin": (torch.zeros(9, 9, 9).long(), torch.zeros(9, 9, 9).long()),
}
SHAPES["thin"][0][:2, :2, :2] = 1  # a clump at the corner whose voxels all are surface
SHAPES["thin"][1][4, 2:7, 3:5] = 1


@pytest.mark.parametrize("name", SHAPES)
def test_agrees_with_brute_force(name):
    fixed, warped = SHAPES[name]
    hd95, assd = surface_distances(fixed, warped, SPACING)
    expected = _brute_force(fixed.numpy() == 1, warped.numpy() == 1, SPACING)
    assert (hd95[1], assd[1]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.parametrize("name", SHAPES)
def test_agrees_with_monai(name):
    fixed, warped = SHAPES[name]
    hd95, assd = surface_distances(fixed, warped, SPACING)
    masks = (warped == 1)[None, None], (fixed == 1)[None, None]
    options = {"include_background": True, "spacing": SPACING[::-1]}
    assert hd95[1] == pytest.approx(compute_hausdorff_distance(*masks, percentile=95, **options).item(), abs=1e-3)
    means = [compute_average_surface_distance(*pair, **options).item() for pair in (masks, masks[::-1])]
    assert assd[1] == pytest.approx(sum(means) / 2, abs=1e-3)


def _contour(mask: torch.Tensor) -> sitk.Image:
    image = sitk.LabelContour(sitk.GetImageFromArray(mask.numpy().astype(np.uint8)), fullyConnected=False)
    image.SetSpacing(SPACING)
    return image


def test_assd_agrees_with_simpleitk_where_both_directions_are_alike():
    # SimpleITK reports the larger of the two directed means, so the pair is its own mirror image.
    fixed = _ball((16, 18, 20), (6, 8, 8), 4)
    warped = fixed.flip(2)
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(_contour(fixed), _contour(warped))
    assert surface_distances(fixed, warped, SPACING).assd[1] == pytest.approx(measure.GetAverageHausdorffDistance())
    assert measure.GetAverageHausdorffDistance() > 1


def test_hd95_agrees_with_percentiles_of_simpleitk_s_danielsson_distances():
    fixed, warped = SHAPES["apart"]
    directed = []
    for there, other in ((fixed, warped), (warped, fixed)):
        away = sitk.DanielssonDistanceMap(
            _contour(other), inputIsBinary=True, squaredDistance=False, useImageSpacing=True
        )
        on_surface = sitk.GetArrayFromImage(_contour(there)) == 1
        directed.append(np.percentile(sitk.GetArrayFromImage(away)[on_surface], 95))
    assert surface_distances(fixed, warped, SPACING).hd95[1] == pytest.approx(max(directed), abs=1e-3)


def test_many_labels_at_once_are_measured_one_by_one():
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(2, 4, 3, 4, 4, generator=generator)
    maps = torch.nn.functional.interpolate(coarse, size=(14, 15, 16), mode="trilinear").argmax(1)
    hd95, assd = surface_distances(maps[0], maps[1], SPACING)
    assert set(hd95) == {1, 2, 3}
    for label in hd95:
        expected = _brute_force(maps[0].numpy() == label, maps[1].numpy() == label, SPACING)
        assert (hd95[label], assd[label]) == pytest.approx(expected, abs=1e-4)


def test_a_shift_of_a_plane_is_its_distance():
    fixed, warped = torch.zeros(5, 20, 20).long(), torch.zeros(5, 20, 20).long()
    fixed[:, :, 3], warped[:, :, 9] = 4, 4
    hd95, assd = surface_distances(fixed, warped, (0.5, 1.0, 1.0))
    assert hd95 == {4: pytest.approx(3.0)}
    assert assd == {4: pytest.approx(3.0)}


def test_two_dimensions():
    fixed, warped = torch.zeros(8, 9).long(), torch.zeros(8, 9).long()
    fixed[2, 2], warped[5, 6] = 1, 1
    assert surface_distances(fixed, warped, (2.0, 1.0)).hd95[1] == pytest.approx(math.hypot(8, 3))


def test_equal_maps_are_at_zero_and_a_missing_label_is_nan():
    fixed = SHAPES["apart"][0]
    same = surface_distances(fixed, fixed, SPACING)
    assert same.hd95 == same.assd == {1: 0.0}
    gone = surface_distances(fixed, torch.zeros_like(fixed), SPACING, [1, 2])
    assert all(math.isnan(value) for values in gone for value in values.values())
    assert set(gone.hd95) == {1, 2}


def test_spacing_of_another_dimension_is_refused():
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(*SHAPES["apart"], (1.0, 1.0))


@pytest.mark.parametrize("shape", [(7, 9), (6, 7, 8)], ids=["2D", "3D"])
def test_the_bounding_box_is_the_smallest(shape):
    inside = torch.zeros(shape, dtype=torch.bool)
    assert bounding_box(inside) is None
    assert bounding_box(inside[:0]) is None
    corners = (1,) * len(shape), tuple(n - 2 for n in shape)
    for corner in corners:
        inside[corner] = True
    assert bounding_box(inside) == tuple(slice(1, n - 1) for n in shape)
    assert bounding_box(inside.movedim(0, -1)) == tuple(slice(1, n - 1) for n in (*shape[1:], shape[0]))
