from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import normalized_mutual_information
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from regcore.losses import nmi

from .loss_inputs import noise, smooth


def _entropy(share: Tensor) -> float:
    return float(torch.special.entr(share).sum())


def _by_hand(warped: Tensor, fixed: Tensor, bins: int) -> float:
    """All weights at once, the splines written piece by piece."""

    def weights(image: Tensor) -> Tensor:
        x = 1 + (image.flatten() - image.min()) / (image.max() - image.min()) * (bins - 3)
        d = (x[:, None] - torch.arange(bins)).abs()
        return torch.where(d < 1, 2 / 3 - d**2 + d**3 / 2, torch.where(d < 2, (2 - d) ** 3 / 6, torch.zeros_like(d)))

    joint = weights(warped).T @ weights(fixed)
    joint /= joint.sum()
    return 2 - (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / _entropy(joint)


@pytest.mark.parametrize("size", [(13, 9), (7, 6, 8), (301, 290)])  # the last in more than one part
@pytest.mark.parametrize("bins", [4, 16])
def test_equals_all_weights_at_once(size: tuple[int, ...], bins: int) -> None:
    fixed = noise(1, 1, *size)
    warped = fixed + 0.3 * noise(1, 1, *size, seed=1)
    assert nmi(warped, fixed, bins=bins).item() == pytest.approx(_by_hand(warped, fixed, bins), abs=1e-10)


@pytest.mark.parametrize(("blend", "tolerance"), [(0.0, 0.006), (0.3, 0.006), (0.6, 0.012), (0.8, 0.07)])
def test_agrees_with_scikit_image(blend: float, tolerance: float) -> None:
    """A hard histogram finds a little more, the more the images have in common, as it blurs nothing."""
    other = smooth(1, 1, 120, 110, seed=1)
    fixed = smooth(1, 1, 120, 110)
    warped = blend * (1 - fixed) ** 2 + (1 - blend) * other
    expected = normalized_mutual_information(warped.numpy(), fixed.numpy(), bins=32)
    assert expected - tolerance < 2 - nmi(warped, fixed).item() < expected


def test_few_separate_values_have_the_entropies_of_a_hard_histogram() -> None:
    """Each value then has a spline of its own, whose entropy is known, on top of that of the values."""
    generator = torch.Generator().manual_seed(0)
    fixed = torch.randint(0, 3, (1, 1, 30, 30), generator=generator)
    warped = torch.where(noise(1, 1, 30, 30) < 0.4, fixed, torch.randint(0, 3, (1, 1, 30, 30), generator=generator))
    table = torch.bincount((3 * fixed + warped).flatten(), minlength=9).reshape(3, 3).double() / fixed.numel()
    hard = (_entropy(table.sum(0)) + _entropy(table.sum(1))) / _entropy(table)
    assert normalized_mutual_information(warped.numpy(), fixed.numpy(), bins=3) == pytest.approx(hard)
    blur = _entropy(torch.tensor([1 / 6, 4 / 6, 1 / 6]))
    expected = (_entropy(table.sum(0)) + _entropy(table.sum(1)) + 2 * blur) / (_entropy(table) + 2 * blur)
    assert 2 - nmi(warped.double(), fixed.double(), bins=11).item() == pytest.approx(expected, abs=1e-6)


def test_order_is_that_of_scikit_image() -> None:
    fixed = smooth(1, 1, 60, 50)
    candidates = [(1 - fixed) ** 2 + amount * smooth(1, 1, 60, 50, seed=1) for amount in (0.05, 0.1, 0.3, 1.0)]
    ours = [nmi(warped, fixed).item() for warped in candidates]
    theirs = [-normalized_mutual_information(warped.numpy(), fixed.numpy(), bins=32) for warped in candidates]
    assert np.argsort(ours).tolist() == np.argsort(theirs).tolist() == [0, 1, 2, 3]


def test_a_map_of_intensities_hardly_matters() -> None:
    fixed, other = smooth(1, 1, 60, 50), smooth(1, 1, 60, 50, seed=1)
    torch.testing.assert_close(nmi(1 - fixed, fixed), nmi(fixed, fixed))
    torch.testing.assert_close(nmi(1000 - 30 * fixed, fixed), nmi(fixed, fixed))
    assert nmi(fixed**2, fixed) < nmi(other, fixed) - 0.4


def test_independent_images_share_nothing() -> None:
    warped, fixed = noise(1, 1, 400, 400), noise(1, 1, 400, 400, seed=1)
    assert nmi(warped, fixed).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_value_tells_nothing(dtype: torch.dtype) -> None:
    flat = torch.full((1, 1, 20, 20), 0.3, dtype=dtype, requires_grad=True)
    found = nmi(flat, noise(1, 1, 20, 20).to(dtype))
    found.backward()
    assert found.item() == pytest.approx(1, abs=1e-6)
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
    assert nmi(flat, flat).item() == pytest.approx(1, abs=1e-6)


def test_values_beyond_the_range_count_as_its_ends() -> None:
    warped, fixed = noise(1, 1, 20, 20), noise(1, 1, 20, 20, seed=1)
    found = nmi(warped * 3 - 1, fixed, value_range=(0.0, 1.0))
    torch.testing.assert_close(found, nmi((warped * 3 - 1).clamp(0, 1), fixed, value_range=(0.0, 1.0)))


def test_weights_count_as_often_as_they_say() -> None:
    warped, fixed = noise(1, 1, 1, 50), noise(1, 1, 1, 50, seed=1)
    times = torch.arange(50) % 3
    repeated = (image.repeat_interleave(times, dim=3) for image in (warped, fixed))
    options = {"bins": 8, "value_range": (0.0, 1.0)}
    torch.testing.assert_close(nmi(warped, fixed, mask=times.view(1, 1, 1, 50), **options), nmi(*repeated, **options))


def test_range_of_the_image_is_a_constant_for_the_gradient() -> None:
    warped, fixed = noise(1, 1, 9, 9).requires_grad_(), noise(1, 1, 9, 9, seed=1)
    low, high = warped.detach().min(), warped.detach().max()
    # With both images of one range, it may as well be given.
    fixed = low + (fixed - fixed.min()) / (fixed.max() - fixed.min()) * (high - low)
    (found,) = torch.autograd.grad(nmi(warped, fixed), warped)
    (expected,) = torch.autograd.grad(nmi(warped, fixed, value_range=(low.item(), high.item())), warped)
    torch.testing.assert_close(found, expected)


class _Largest(TorchDispatchMode):
    """Notes the largest tensor any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(part.numel() for part in tree_leaves(out) if isinstance(part, Tensor))])
        return out


def test_memory_does_not_grow_with_the_bins() -> None:
    fixed = noise(1, 1, 1000, 300).float()
    warped = noise(1, 1, 1000, 300, seed=1).float().requires_grad_()
    kept = []

    def note(saved: Tensor) -> Tensor:
        kept.append(saved.numel())
        return saved

    with _Largest() as largest, torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        nmi(warped, fixed, bins=32).backward()
    # All weights of one image would be 32 images.
    assert sum(kept) < 8 * fixed.numel()
    assert largest.numel < 8 * fixed.numel()


@pytest.mark.parametrize(
    ("options", "named"),
    [({"bins": 3}, "bins"), ({"value_range": (1.0, 1.0)}, "value_range"), ({"value_range": (1.0, 0.0)}, "value_range")],
)
def test_refuses_what_makes_no_histogram(options: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        nmi(noise(1, 1, 9, 9), noise(1, 1, 9, 9), **options)  # type: ignore[arg-type]
