"""What a rigid attention network looked at: Grad-CAM of both branches, and the raw attention of one voxel.

The paper scales each channel of a block's output by "the gradient of the preceding layer's weights" and adds the
channels up. That leaves two things open, chosen here and said wherever a map is shown: the scalar that is
differentiated, and whether the gradient is taken with respect to the output (as in Grad-CAM) or, literally, to the
weights of the convolution before it.

References:
    Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, figure 4.
    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from regcore.models.attention_reg import AttentionReg, CrossModalAttention
from regcore.models.base import NOMINAL_SIDE_MM, Units, normalised
from regcore.ops.sampling import identity_coordinates, sample

Branch = Literal["fixed", "moving"]
Mode = Literal["activations", "weights"]
Target = Literal["all"] | int

NUMBERS = ("tx", "ty", "tz", "ax", "ay", "az")

_SECOND = 4  # place of the second convolution in a branch

_Score = Callable[[Sequence[Tensor]], Tensor]


def grad_cam(
    model: AttentionReg,
    fixed: Tensor,
    moving: Tensor,
    side_mm: Tensor,
    *,
    branch: Branch,
    mode: Mode = "activations",
    target: Target = "all",
) -> Tensor:
    """Return where one branch saw what the result rests on.

    The map is ``ReLU(sum_c alpha_c A_c)`` with ``A`` the branch's features after its attention block. ``alpha_c`` is
    the mean slope of the target along ``A_c``, or (``weights``) along the weights of channel ``c`` of the branch's
    second convolution. Parameters and their gradients stay as they are, also inside `torch.inference_mode`.

    Args:
        model: in evaluation mode, with or without attention blocks.
        fixed: ``(N, 1, *input_size)``, as for the model.
        moving: likewise, resampled into the fixed crop.
        side_mm: ``(N, 3)``, lengths of the crop along x, y, z.
        branch: whose map.
        mode: see above.
        target: which of the six numbers, 0 to 5 (mm, degrees), or the sum of their squares: our choice, as the paper
            names none.

    Returns:
        ``(N, *input_size)``, each volume from 0 to 1; all 0 where no feature raises the target.

    Raises:
        ValueError: crops of another shape, a network in training mode, or an unknown mode, branch or target.
    """
    _check(model, fixed, moving, side_mm)
    _check_choice(branch, mode, target)
    side = 0 if branch == "fixed" else 1
    coarse = _weights_map if mode == "weights" else _activations_map
    # What was made in inference mode cannot be differentiated, its copy can.
    with torch.inference_mode(False), torch.enable_grad():
        crops = normalised(fixed.clone(), moving.clone(), model.convention.normalise)
        sides = side_mm.clone()
        maps = [
            coarse(model, (crops[0][n : n + 1], crops[1][n : n + 1]), _score(model, sides[n : n + 1], target), side)
            for n in range(len(fixed))
        ]
        return _stretched(upsampled(torch.cat(maps), model.input_size))


def attention_of(
    model: AttentionReg, fixed: Tensor, moving: Tensor, position: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return what the place ``position`` of either crop attends to in the other, before any value is weighted by it.

    Attention lives on features of 2 x 4 x 4 voxels; the one nearest to ``position`` is taken.

    Args:
        model: with attention blocks, in evaluation mode.
        fixed: ``(N, 1, *input_size)``, as for the model.
        moving: likewise.
        position: voxel (k, j, i) of the crop.

    Returns:
        Attention of the fixed crop's place over the moving crop, and of the moving crop's over the fixed one, each
        ``(N, *input_size)``; before upsampling the values of a volume add up to 1.

    Raises:
        ValueError: a network without attention or in training mode, other shapes, or a position outside the crop.
    """
    _check(model, fixed, moving)
    if not model.blocks:
        raise ValueError("model: this network has no attention to show; choose one of the attention-reg family")
    size = model.input_size
    if len(position) != 3 or not all(-0.5 <= p <= n - 0.5 for p, n in zip(position, size, strict=True)):
        raise ValueError(f"position: expected a voxel (k, j, i) of the crop {size}, got {tuple(position)}")
    with torch.no_grad():
        still, moved = model.extract(*normalised(fixed, moving, model.convention.normalise))
        place = _token(position, size, still.shape[2:])
        onto_fixed, onto_moving = (cast(CrossModalAttention, block) for block in model.blocks)
        rows = onto_moving.weights(moved, still, place), onto_fixed.weights(still, moved, place)
        over_moving, over_fixed = (upsampled(row[:, None], size) for row in rows)
    return over_moving, over_fixed


def upsampled(features: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate features ``(N, 1, *coarse)`` linearly to the voxels of the crop, ``(N, *size)``.

    Pooling with stride s puts feature o over voxel s * o, not over the middle of s voxels, so the usual resizing
    would shift a map by up to one and a half voxels.
    """
    steps = [n / m for n, m in zip(size, features.shape[2:], strict=True)]
    coordinates = identity_coordinates(size, features) / features.new_tensor(steps).view(1, 3, 1, 1, 1)
    return sample(features, coordinates.expand(len(features), -1, -1, -1, -1), padding="border")[:, 0]


def _activations_map(model: AttentionReg, crops: tuple[Tensor, Tensor], score: _Score, side: int) -> Tensor:
    with torch.no_grad():
        attended = [features.detach() for features in model.attend(*model.extract(*crops))]
    seen = attended[side].requires_grad_()
    (slope,) = torch.autograd.grad(score(attended), seen)
    return _combined(slope.mean(dim=(2, 3, 4))[0], seen)


def _weights_map(model: AttentionReg, crops: tuple[Tensor, Tensor], score: _Score, side: int) -> Tensor:
    paths = model.fixed_path, model.moving_path
    # A copy in the layer's place: the model's own weights may be frozen, or be in training elsewhere.
    weight = cast(Tensor, paths[side][_SECOND].weight).detach().clone().requires_grad_()
    features = [path(crop) for path, crop in zip(paths, crops, strict=True)]
    features[side] = functional_call(paths[side], {f"{_SECOND}.weight": weight}, (crops[side],))
    attended = model.attend(*features)
    (slope,) = torch.autograd.grad(score(attended), weight)
    return _combined(slope.mean(dim=(1, 2, 3, 4)), attended[side])


def _combined(alpha: Tensor, features: Tensor) -> Tensor:
    return F.relu((alpha.view(1, -1, 1, 1, 1) * features).sum(dim=1, keepdim=True)).detach()


def _score(model: AttentionReg, side_mm: Tensor, target: Target) -> _Score:
    """Return the function from attended features of one pair to the scalar that is differentiated."""

    def score(attended: Sequence[Tensor]) -> Tensor:
        found = model.register_features(*attended)
        numbers = (found * _units(model.convention.units, side_mm))[0]
        return numbers.square().sum() if target == "all" else numbers[target]

    return score


def _units(units: Units, side_mm: Tensor) -> Tensor:
    """Return what the head's numbers ``(N, 6)`` are multiplied by to be mm and degrees."""
    one = torch.ones_like(side_mm)
    return torch.cat([one if units == "mm" else side_mm / NOMINAL_SIDE_MM, one], dim=1)


def _stretched(maps: Tensor) -> Tensor:
    """Scale each volume to [0, 1]; one of a single value becomes 0."""
    low, high = maps.amin(dim=(1, 2, 3), keepdim=True), maps.amax(dim=(1, 2, 3), keepdim=True)
    width = high - low
    return torch.where(width > 0, (maps - low) / torch.where(width > 0, width, 1), 0)


def _token(position: Sequence[float], size: Sequence[int], coarse: Sequence[int]) -> int:
    """Return the flat index of the feature nearest to a voxel."""
    place = [min(round(p * m / n), m - 1) for p, n, m in zip(position, size, coarse, strict=True)]
    k, j, i = (max(p, 0) for p in place)
    return (k * coarse[1] + j) * coarse[2] + i


def _check(model: AttentionReg, fixed: Tensor, moving: Tensor, side_mm: Tensor | None = None) -> None:
    if model.training:
        raise ValueError("model: expected a network in evaluation mode, got one in training; call model.eval() first")
    wanted = (len(fixed), 1, *model.input_size)
    for name, crop in (("fixed", fixed), ("moving", moving)):
        if tuple(crop.shape) != wanted or not crop.is_floating_point():
            raise ValueError(
                f"{name}: expected a floating point crop (N, 1, {', '.join(map(str, model.input_size))}), one N for "
                f"both, got {tuple(crop.shape)} {crop.dtype}; resample the image onto the gland's crop"
            )
    if side_mm is not None and tuple(side_mm.shape) != (len(fixed), 3):
        raise ValueError(f"side_mm: expected the crops' sides ({len(fixed)}, 3) in mm, got {tuple(side_mm.shape)}")


def _check_choice(branch: str, mode: str, target: Target) -> None:
    if branch not in ("fixed", "moving"):
        raise ValueError(f"branch: expected fixed or moving, got {branch!r}")
    if mode not in ("activations", "weights"):
        raise ValueError(f"mode: expected activations or weights, got {mode!r}")
    if target != "all" and target not in range(len(NUMBERS)):
        raise ValueError(f"target: expected all or a number from 0 to {len(NUMBERS) - 1}, got {target!r}")
