from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from regcore.ops.ssim import ssim_map


def _pair(*size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    a = torch.rand(size, generator=generator, dtype=torch.float64)
    b = (0.7 * a + 0.3 * torch.rand(size, generator=generator, dtype=torch.float64)).clamp(0, 1)
    return a.to(dtype), b.to(dtype)


@pytest.mark.parametrize("size", [(2, 1, 23, 19), (1, 1, 15, 13, 17), (1, 3, 20, 14)])
def test_equals_scikit_image_on_the_windows_inside(size: tuple[int, ...]) -> None:
    a, b = _pair(*size)
    found = ssim_map(a, b)
    for image in range(size[0]):
        for channel in range(size[1]):
            _, full = structural_similarity(
                a[image, channel].numpy(), b[image, channel].numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False, full=True,
            )  # fmt: skip
            inside = full[tuple(slice(5, -5) for _ in size[2:])]
            np.testing.assert_allclose(found[image, channel].numpy(), inside, atol=1e-12)


@pytest.mark.parametrize("window", [3, 7])
def test_other_windows_and_ranges_equal_a_brute_force_loop(window: int) -> None:
    a, b = (100 * image - 40 for image in _pair(1, 1, 9, 8))
    line = torch.exp(-0.5 * ((torch.arange(window, dtype=torch.float64) - window // 2) / 2.0).square())
    weight = line[:, None] * line[None]
    weight /= weight.sum()
    c1, c2 = (0.02 * 100) ** 2, (0.05 * 100) ** 2
    found = ssim_map(a, b, data_range=100.0, window=window, sigma=2.0, k1=0.02, k2=0.05)[0, 0]
    for i in range(9 - window + 1):
        for j in range(8 - window + 1):
            x, y = (image[0, 0, i : i + window, j : j + window] for image in (a, b))
            mx, my = (weight * x).sum(), (weight * y).sum()
            vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
            cov = (weight * (x - mx) * (y - my)).sum()
            expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            torch.testing.assert_close(found[i, j], expected, atol=1e-10, rtol=0)


def test_an_image_is_wholly_similar_to_itself() -> None:
    a, _ = _pair(1, 1, 13, 12, 14)
    torch.testing.assert_close(ssim_map(a, a), torch.ones(1, 1, 3, 2, 4, dtype=torch.float64))


def test_an_image_and_its_negative_are_dissimilar() -> None:
    a, _ = _pair(1, 1, 16, 16)
    assert (ssim_map(a, 1 - a) < 0).all()


def test_gradient_is_exact() -> None:
    a, b = _pair(1, 2, 6, 5)
    assert torch.autograd.gradcheck(lambda x, y: ssim_map(x, y, window=3), (a.requires_grad_(), b.requires_grad_()))


def test_inputs_are_left_as_they_were() -> None:
    a, b = _pair(1, 1, 12, 12)
    kept = a.clone(), b.clone()
    ssim_map(a, b)
    assert torch.equal(a, kept[0])
    assert torch.equal(b, kept[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    a, b = _pair(1, 1, 13, 13, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = ssim_map(a, b)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), ssim_map(a.double(), b.double()), atol=1e-5, rtol=0)


def test_constant_images_give_finite_values_and_gradients() -> None:
    a = torch.full((1, 1, 12, 12), 0.3, requires_grad=True)
    found = ssim_map(a, torch.zeros(1, 1, 12, 12))
    found.sum().backward()
    assert found.isfinite().all()
    assert a.grad is not None
    assert a.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "named"),
    [({"window": 4}, "window"), ({"window": 13}, "window"), ({"sigma": 0.0}, "sigma"), ({"data_range": -1}, "range")],
)
def test_refuses_what_makes_no_sense(options: dict[str, float], named: str) -> None:
    a, b = _pair(1, 1, 12, 12)
    with pytest.raises(ValueError, match=named):
        ssim_map(a, b, **options)  # type: ignore[arg-type]


def test_refuses_images_of_two_shapes() -> None:
    with pytest.raises(ValueError, match="expected the shape of a"):
        ssim_map(torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 13))
