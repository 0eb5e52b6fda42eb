"""From control grid to field against closed forms, the library's bicubic and a transposed convolution."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regcore.models.layers.control_grid import INJECTIVE, bspline_field, cubic_field
from regcore.ops.fields import jacobian_determinant

# Choi and Lee's constants: 1 / the largest displacement, in spacings, at which a field cannot fold.
CHOI_LEE = {2: 2.046392675, 3: 2.479472335}


def kernel(t: float) -> float:
    """The cubic B-spline as four polynomials, each on its unit interval."""
    t = abs(t)
    if t >= 2:
        return 0.0
    return (4 - 6 * t**2 + 3 * t**3) / 6 if t < 1 else (2 - t) ** 3 / 6


def direct(control: Tensor, spacing: int, voxel: tuple[int, ...]) -> float:
    """Sum over all control points, those at the edge repeated outwards, one by one."""
    total = 0.0
    points = control.shape
    for index in itertools.product(*(range(-2, n + 2) for n in points)):
        weight = math.prod(
            kernel((x - (spacing * i + (spacing - 1) / 2)) / spacing) for x, i in zip(voxel, index, strict=True)
        )
        total += weight * float(control[tuple(min(max(i, 0), n - 1) for i, n in zip(index, points, strict=True))])
    return total


@pytest.mark.parametrize(("points", "spacing"), [((4, 3), 5), ((3, 4), 2), ((2, 3, 3), 4), ((1, 2), 7)])
def test_bspline_equals_the_direct_sum(points: tuple[int, ...], spacing: int) -> None:
    control = torch.randn((1, 1, *points), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size = [spacing * n for n in points]
    dense = bspline_field(control, spacing, size)[0, 0]
    assert dense.shape == tuple(size)
    voxels = itertools.product(*(range(0, n, 3) for n in size))
    assert all(float(dense[v]) == pytest.approx(direct(control[0, 0], spacing, v), abs=1e-13) for v in voxels)


def test_bspline_is_a_transposed_convolution() -> None:
    control = torch.randn((2, 1, 5, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spacing = 4
    line = torch.tensor([kernel((t - 2 * spacing + 0.5) / spacing) for t in range(4 * spacing)], dtype=torch.float64)
    ours = bspline_field(control, spacing, [20, 24])
    padded = F.pad(control, (2, 2, 2, 2), mode="replicate")
    dense = F.conv_transpose2d(padded, torch.outer(line, line)[None, None], stride=spacing)
    # A point's kernel reaches one and a half spacings before its own voxels; two points were added in front.
    first = 2 * spacing + 3 * spacing // 2
    torch.testing.assert_close(ours, dense[..., first : first + 20, first : first + 24])


@given(
    size=st.lists(st.integers(1, 13), min_size=2, max_size=3),
    spacing=st.integers(1, 6),
    value=st.floats(-5, 5),
    form=st.sampled_from(["bspline", "cubic"]),
)
@settings(max_examples=40, deadline=None)
def test_weights_sum_to_one_everywhere(size: list[int], spacing: int, value: float, form: str) -> None:
    points = [-(-n // spacing) for n in size]
    control = torch.full((1, 1, *points), value, dtype=torch.float64)
    dense = bspline_field(control, spacing, size) if form == "bspline" else cubic_field(control, size)
    torch.testing.assert_close(dense, torch.full((1, 1, *size), value, dtype=torch.float64))


@pytest.mark.parametrize(("points", "size"), [((4, 4), (28, 28)), ((7, 3), (28, 31)), ((1, 5), (9, 20))])
def test_cubic_is_the_bicubic_of_the_library(points: tuple[int, ...], size: tuple[int, ...]) -> None:
    control = torch.randn((2, 2, *points), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = F.interpolate(control, size=size, mode="bicubic", align_corners=True)
    torch.testing.assert_close(cubic_field(control, size), expected)


def test_cubic_in_3d_is_separable_and_goes_through_the_control_points() -> None:
    lines = [torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (3, 4, 5)]
    size = (9, 10, 17)
    alone = [
        F.interpolate(line.view(1, 1, -1, 1), size=(n, 1), mode="bicubic", align_corners=True).flatten()
        for line, n in zip(lines, size, strict=True)
    ]
    control = torch.einsum("a,b,c->abc", *lines)
    dense = cubic_field(control[None, None], size)[0, 0]
    torch.testing.assert_close(dense, torch.einsum("a,b,c->abc", *alone))
    torch.testing.assert_close(dense[::4, ::3, ::4], control)


@pytest.mark.parametrize("points", [(2, 3), (2, 2, 3)])
def test_gradients(points: tuple[int, ...]) -> None:
    control = torch.randn((2, 1, *points), dtype=torch.float64, requires_grad=True)
    size = [3 * n - 1 for n in points]
    assert torch.autograd.gradcheck(lambda c: bspline_field(c, 3, size), control)
    assert torch.autograd.gradcheck(lambda c: cubic_field(c, size), control)


@pytest.mark.parametrize(("points", "spacing"), [((9, 10), 4), ((9, 8), 8), ((5, 6, 5), 4), ((9, 8, 9), 2)])
def test_random_fields_under_the_bound_do_not_fold(points: tuple[int, ...], spacing: int) -> None:
    generator = torch.Generator().manual_seed(0)
    size = [spacing * n for n in points]
    signs = torch.randn((8, len(points), *points), generator=generator).sign()
    for control in (signs, signs * torch.rand(signs.shape, generator=generator)):
        field = bspline_field(INJECTIVE * spacing * control, spacing, size)
        assert jacobian_determinant(field).min() > 0


def worst_direction(points: int, spacing: int, voxel: tuple[int, ...]) -> tuple[Tensor, float]:
    """Signs of the control values that compress most at a voxel, and by how much per spacing they do.

    All components move alike, against the sum of the derivatives along the axes: the case Choi and Lee's bound is
    tight for. The determinant there is 1 - bound * slope.
    """
    control = torch.zeros((1, 1, *[points] * len(voxel)), dtype=torch.float64, requires_grad=True)
    field = bspline_field(control, spacing, [points * spacing] * len(voxel))[0, 0]
    slope = field.new_zeros(())
    for axis in range(len(voxel)):
        after, before = ([x + step * (a == axis) for a, x in enumerate(voxel)] for step in (1, -1))
        slope = slope + (field[tuple(after)] - field[tuple(before)]) / 2
    (weights,) = torch.autograd.grad(slope, control)
    return -weights.sign(), spacing * float(weights.abs().sum())


# The voxels, in the middle of the grid, at which the slope is steepest.
@pytest.mark.parametrize(("spacing", "voxel"), [(16, (51, 52)), (8, (28, 29, 29))])
def test_the_worst_field_under_the_bound_nearly_folds_and_one_above_it_does(
    spacing: int, voxel: tuple[int, ...]
) -> None:
    dimensions, points = len(voxel), 6
    signs, slope = worst_direction(points, spacing, voxel)
    assert 0.99 * CHOI_LEE[dimensions] < slope < CHOI_LEE[dimensions]
    size = [points * spacing] * dimensions

    def smallest(bound: float) -> float:
        control = (bound * spacing * signs).expand(1, dimensions, *signs.shape[2:])
        return float(jacobian_determinant(bspline_field(control, spacing, size)).min())

    assert smallest(INJECTIVE) == pytest.approx(1 - INJECTIVE * slope)
    assert smallest(INJECTIVE) > 0
    assert smallest(0.5) < 0
    assert 1 / CHOI_LEE[dimensions] > INJECTIVE
