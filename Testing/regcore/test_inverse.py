import numpy as np
import pytest
import torch

from regcore.field import DisplacementField, to_voxels
from regcore.inverse import invert
from regcore.ops.fields import compose
from regcore.ops.inversion import invert as invert_displacement
from regcore.transform import AffineTransform, CompositeTransform, DenseTransform, RigidTransform, Transform

from .pairs import centred_grid


def stretched(shape, strength):
    """A displacement that stretches its middle by more than two: where the usual fixed point does not contract."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    bump = torch.exp(-sum(a**2 for a in axes) / 0.15)
    scale = [strength * n / 2 for n in shape]
    return torch.stack([a * bump * s for a, s in zip(axes, scale, strict=True)])[None]


@pytest.mark.parametrize("shape", [(40, 36), (28, 32, 30)])
def test_strong_stretch_is_inverted_to_the_tolerance(shape):
    displacement = stretched(shape, 1.6)
    inverse, error = invert_displacement(displacement, tolerance=0.02)
    again = compose(inverse, displacement).square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(error, again, atol=1e-4, rtol=0)
    assert float(again.mean()) < 0.02
    assert float((again > 0.02).float().mean()) < 0.01


def test_newton_beats_the_fixed_point_on_it():
    displacement = stretched((40, 36), 1.6)
    plain = -displacement
    for _ in range(30):
        plain = plain - compose(plain, displacement)
    newton, _ = invert_displacement(displacement)
    assert compose(newton, displacement).abs().mean() < 0.2 * compose(plain, displacement).abs().mean()


def test_large_fields_take_the_same_way_as_small_ones(monkeypatch):
    displacement = stretched((36, 40, 44), 0.8)
    plain, _ = invert_displacement(displacement, tolerance=1e-3)
    monkeypatch.setattr("regcore.ops.inversion._LARGE", 1000)
    monkeypatch.setattr("regcore.ops.inversion._CHUNK", 5000)
    large, error = invert_displacement(displacement, tolerance=1e-3)
    assert float(error.max()) < 2e-3
    torch.testing.assert_close(plain, large, atol=5e-3, rtol=0)


def test_chain_is_inverted_in_reverse_with_the_measured_error(smooth_field):
    grid = centred_grid((34, 30, 26), (1.5, 1.2, 2.0), RigidTransform.from_euler((10, 20, -30), (0, 0, 0)).matrix)
    dense = DenseTransform(smooth_field(grid, 4.0, taper=True))
    affine = AffineTransform.of(np.diag([1.1, 0.9, 1.0]), (30.0, -12.0, 5.0))
    chain = CompositeTransform((dense, affine))
    found = invert(chain, grid)
    points = grid.to_world(np.random.default_rng(0).uniform(6, 20, (300, 3)))
    errors = np.linalg.norm(found.transform(chain(points)) - points, axis=1)
    assert errors.mean() < 0.05
    assert found.error_mean_mm < 0.05
    assert errors.max() <= found.error_max_mm + 0.05
    assert np.linalg.norm(chain(points) - points, axis=1).mean() > 20


def test_reported_error_is_not_made_up():
    grid = centred_grid((30, 30), (1.0, 1.0))
    folded = torch.zeros((2, 30, 30))
    folded[0, :, 10:15] = 8.0  # two regions onto one: no inverse exists
    assert invert(DenseTransform(DisplacementField(folded, grid)), grid).error_max_mm > 0.5


def test_rigid_is_inverted_exactly():
    grid = centred_grid((20, 20, 20), (1.0, 1.0, 1.0))
    found = invert(RigidTransform.from_euler((5, 10, 15), (3.0, 2.0, 1.0), (7.0, 8.0, 9.0)), grid)
    assert found.error_max_mm < 1e-4


def test_unknown_kinds_are_refused():
    class Odd(Transform):
        dim = 3

        def map(self, points):
            return points

    with pytest.raises(ValueError, match="no inverse"):
        invert(Odd(), centred_grid((4, 4, 4), (1.0, 1.0, 1.0)))


def test_to_voxels_of_an_inverse_undoes_the_voxels(smooth_field):
    field = smooth_field(centred_grid((30, 28, 26), (1.0, 2.0, 1.5)), 5.0, taper=True)
    inverse, error_mm = field.invert()
    left = compose(to_voxels(inverse), to_voxels(field))
    assert float(left.abs().max()) < 0.1
    assert float(error_mm.max()) < 0.1
