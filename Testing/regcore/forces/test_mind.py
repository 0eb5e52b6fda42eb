import pytest
import torch
import torch.nn.functional as F

from regcore.forces.mind import MindForce, mind, neighbour_pairs, noise_floor
from regcore.ops.sampling import warp
from regcore.ops.smoothing import gaussian


def texture(shape, seed):
    noise = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    return gaussian(noise, 1.2) * 2


def test_pairs_are_the_edges_of_an_octahedron_or_a_square():
    assert len(neighbour_pairs(3)) == 12
    assert len(neighbour_pairs(2)) == 4


def test_descriptor_by_hand():
    image = texture((9, 10, 11), 1)
    padded = F.pad(image, [1] * 6, mode="replicate")[0, 0]
    here = (4, 5, 6)
    ssd = []
    for a, b in neighbour_pairs(3):
        total = 0.0
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                for k in (-1, 0, 1):
                    at = [x + 1 + d for x, d in zip(here, (i, j, k), strict=True)]
                    p, q = ([x + y for x, y in zip(at, offset, strict=True)] for offset in (a, b))
                    total += float(padded[tuple(p)] - padded[tuple(q)]) ** 2 / 27
        ssd.append(total)
    raw = torch.tensor(ssd) - min(ssd)
    torch.testing.assert_close(mind(image)[0, :, 4, 5, 6], torch.exp(-raw / raw.mean()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(12, 13, 14), (20, 21)])
def test_descriptor_ignores_scale_offset_and_sign_of_contrast(shape):
    image = texture(shape, 2)
    torch.testing.assert_close(mind(1.3 - 0.7 * image), mind(image), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("shape", [(16, 17, 18), (30, 26)])
def test_force_points_up_the_gradient(shape):
    fixed, moving = texture(shape, 1), 1 - gaussian(texture(shape, 1).roll(1, 2), 0.8)
    force = MindForce(fixed, moving)
    displacement = torch.zeros(1, len(shape), *shape, requires_grad=True)
    # Interpolation exactly between voxels has one-sided slopes: take them around a small offset on both sides.
    total = 0.0
    for offset in (-0.01, 0.01):
        total = total + _similarity(warp(moving, displacement + offset, padding="border"), force, moving)
    total.backward()
    found, expected = (gaussian(field, 1.5) for field in (force(moving)[0], displacement.grad))
    inside = (..., *[slice(3, -3)] * len(shape))
    assert F.cosine_similarity(found[inside].flatten(), expected[inside].flatten(), dim=0) > 0.7


def _similarity(warped, force, moving):
    """The same similarity, out of operations that autograd can follow."""
    dim = warped.ndim - 2
    padded = F.pad(warped, [1, 1] * dim, mode="replicate")
    pool = F.avg_pool3d if dim == 3 else F.avg_pool2d

    def moved(offset):
        return padded[(..., *[slice(1 + o, 1 + o + n) for o, n in zip(offset, warped.shape[2:], strict=True)])]

    ssd = torch.cat([(moved(a) - moved(b)) ** 2 for a, b in neighbour_pairs(dim)], 1)
    ssd = pool(ssd, 3, 1, 1)
    ssd = ssd - ssd.amin(1, keepdim=True)
    descriptor = torch.exp(-ssd / ssd.mean(1, keepdim=True).clamp_min(noise_floor(moving)))
    return -(descriptor - force._descriptor).square().mean(1).sum()


def test_slabs_give_what_the_whole_gives():
    fixed, warped = texture((40, 10, 11), 1), texture((40, 10, 11), 2)
    force = MindForce(fixed, warped)
    whole, rows = force(warped), slice(10, 30)
    for part, all_rows in zip(force(warped[:, :, rows], rows), whole, strict=True):
        inner = slice(force.reach, -force.reach)
        torch.testing.assert_close(part[:, :, inner], all_rows[:, :, rows][:, :, inner], atol=1e-5, rtol=1e-4)


def test_masked_voxels_push_nothing():
    mask = torch.zeros(1, 1, 14, 15)
    mask[..., :6] = 1
    force, similarity = MindForce(texture((14, 15), 1), texture((14, 15), 2), mask)(texture((14, 15), 2))
    assert force[..., :6].any()
    assert not force[..., 6:].any()
    assert not similarity[..., 6:].any()
