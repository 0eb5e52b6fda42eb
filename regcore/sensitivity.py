"""Where a small change of either image would change the displacement that a deformable network finds.

``J`` is the slope of the displacement (mm) along the intensities of an image. The map of that image holds, for each
voxel ``y``, the length of ``J``'s column ``y``: how far, over all voxels together, the displacement moves when the
image changes at ``y`` alone. That is the gradient map of Simonyan et al. for an output of many numbers. Worked out
exactly it takes one backward pass per number of the displacement; random signs ``r`` have ``E[(J^T r)_y^2]`` equal to
the squared length (Hutchinson), so the mean over a few draws estimates it, one backward pass each. The displacement of
one voxel has as many numbers as axes and is taken exactly.

Of the ways to show this, judged by the pictures of a brain pair under `regcore.models.pan`: the slope of
``|u|^2 / 2``, one backward pass, is ``J^T u``, blind where nothing moves now; noise on the images (SmoothGrad) lifts
the background and smooths nothing that is left after averaging over signs and a Gaussian of one voxel; and the slope
times the image looks like the image whatever the network does (Adebayo et al.).

References:
    Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014, section 3.
    Hutchinson, "A stochastic estimator of the trace of the influence matrix", Communications in Statistics 18, 1989.
    Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from regcore.models.base import RegistrationModel
from regcore.ops.smoothing import gaussian
from regcore.watch import watched

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Sensitivity:
    """Squared slopes of a displacement.

    Attributes:
        fixed: ``(N, 1, *size)``, squared length of the column of ``J`` of each voxel of the fixed image: mm^2 for a
            change of 1 of its intensity.
        moving: likewise of the moving image.
        displacement: ``(N, D, *size)``, voxels, as the network gives it.
    """

    fixed: Tensor
    moving: Tensor
    displacement: Tensor


def sensitivity(
    model: RegistrationModel,
    fixed: Tensor,
    moving: Tensor,
    spacing: Sequence[float],
    *,
    voxel: Sequence[int] | None = None,
    draws: int = 8,
    seed: int = 0,
    report: Report | None = None,
) -> Sensitivity:
    """Return how much each voxel of either image counts for the displacement.

    Parameters and their gradients stay as they are, also inside `torch.inference_mode`.

    Args:
        model: in evaluation mode.
        fixed: ``(N, 1, *size)``, as for the model and on its device.
        moving: likewise, moved by what is known so far.
        spacing: size of a voxel along the axes of the tensors (mm).
        voxel: (k, j, i), whose displacement counts alone, in each of the batch; None: that of all voxels.
        draws: number of random signs for the displacement of all voxels; an estimate varies by ``1.4 / sqrt(draws)``
            of the squared length at one voxel, less once smoothed.
        seed: of the signs.
        report: told the fraction done and a message; what it raises ends the work.

    Raises:
        ValueError: a network in training mode, a number of draws below 1, a voxel outside the image, or slopes that
            are not finite.
    """
    if model.training:
        raise ValueError("model: expected a network in evaluation mode, got one in training; call model.eval() first")
    if draws < 1:
        raise ValueError(f"draws: expected at least 1, got {draws}")
    size = tuple(fixed.shape[2:])
    if voxel is not None and not (
        len(voxel) == len(size) and all(0 <= v < n for v, n in zip(voxel, size, strict=True))
    ):
        raise ValueError(f"voxel: expected a voxel (k, j, i) of the image {size}, got {tuple(voxel)}")
    report = report or (lambda fraction, message: None)
    count = draws if voxel is None else len(size)
    # What was made in inference mode cannot be differentiated, its copy can.
    with torch.inference_mode(False), torch.enable_grad():
        images = tuple(image.clone().requires_grad_() for image in (fixed, moving))
        with watched(model, lambda fraction, message: report(fraction / (1 + count), message), "network"):
            displacement = _displacement(model, *images)
        shares = _signs(displacement, spacing, draws, seed) if voxel is None else _units(displacement, spacing, voxel)
        squares = [torch.zeros_like(image, requires_grad=False) for image in images]
        for number, share in enumerate(shares, start=1):
            report(number / (1 + count), f"slope {number} of {count}")
            for square, slope in zip(squares, _slopes(displacement, share, images, number < count), strict=True):
                square.add_(slope.square())
    if not all(bool(torch.isfinite(part).all()) for part in (displacement, *squares)):
        raise ValueError("model: the displacement or its slopes are not finite; check the weights")
    return Sensitivity(squares[0], squares[1], displacement.detach())


def smoothed_length(squares: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """Return the root of the mean of squared slopes ``(N, 1, *size)`` around each voxel.

    Squares of single voxels scatter, because few signs are drawn and because pooling and strides let neighbours count
    unevenly.

    Args:
        squares: see `Sensitivity`.
        sigma: of the Gaussian, voxels; one for all axes or one per axis.
    """
    return gaussian(squares, sigma).clamp_min(0).sqrt()


def _displacement(model: RegistrationModel, fixed: Tensor, moving: Tensor) -> Tensor:
    # Detached parameters: no memory goes into their slopes, and frozen ones are left frozen.
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    found: Tensor = functional_call(model, parameters, (fixed, moving)).displacement
    return found


def _slopes(displacement: Tensor, share: Tensor, images: Sequence[Tensor], again: bool) -> Sequence[Tensor]:
    """Return ``J^T share`` for each image; ``again``: the way back will be needed once more."""
    if not displacement.requires_grad:  # a network that looks at neither
        return [torch.zeros_like(image) for image in images]
    return torch.autograd.grad(
        displacement, images, share, retain_graph=again, allow_unused=True, materialize_grads=True
    )


def _signs(displacement: Tensor, spacing: Sequence[float], draws: int, seed: int) -> Iterator[Tensor]:
    """Yield random signs, scaled so that squares add up to the mean, and to mm."""
    generator = torch.Generator().manual_seed(seed)
    scale = _per_axis(spacing, displacement) / draws**0.5
    for _ in range(draws):
        signs = torch.randint(0, 2, displacement.shape, generator=generator, dtype=torch.int8).mul_(2).sub_(1)
        yield signs.to(displacement) * scale


def _units(displacement: Tensor, spacing: Sequence[float], voxel: Sequence[int]) -> Iterator[Tensor]:
    """Yield, for one axis after the other, what picks the displacement (mm) of one voxel along it."""
    for axis, step in enumerate(spacing):
        unit = torch.zeros_like(displacement, requires_grad=False)
        where: tuple[slice | int, ...] = (slice(None), axis, *voxel)
        unit[where] = step
        yield unit


def _per_axis(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values).view(1, -1, *[1] * (like.ndim - 2))
