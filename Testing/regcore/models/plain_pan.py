"""PAN as the paper describes it, step by step and without care for time or memory: what ours is compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.models.pan import PAN

SLOPE = 0.1


def plain_attention(query: Tensor, key: Tensor, bias: Tensor, mask_outside: bool = False) -> Tensor:
    """Local attention over unfolded keys ``(voxels, heads, 27, 6)``, the bias gathered by index.

    Shapes as in `regcore.models.layers.local_attention`, three axes.
    """
    heads = bias.shape[0]
    batch, channels, *size = query.shape
    width = channels // heads
    queries = query.view(batch, heads, width, -1).permute(0, 3, 1, 2).reshape(-1, heads, 1, width)
    padded = F.pad(key, (1,) * 6)
    unfolded = padded.unfold(2, 3, 1).unfold(3, 3, 1).unfold(4, 3, 1).flatten(-3)
    keys = unfolded.view(batch, heads, width, -1, 27).permute(0, 3, 1, 4, 2).reshape(-1, heads, 27, width)
    logits = (queries @ keys.mT).squeeze(2)
    index = torch.arange(27).repeat(logits.shape[0])
    gathered = bias.flatten(1)[:, index].view(heads, -1, 27).permute(1, 0, 2)
    logits = logits + gathered
    if mask_outside:
        inside = F.pad(torch.ones(1, 1, *size), (1,) * 6).unfold(2, 3, 1).unfold(3, 3, 1).unfold(4, 3, 1)
        inside = inside * inside.flip(-3, -2, -1)
        outside = inside.reshape(1, -1, 1, 27).expand(batch, -1, heads, 27).reshape(logits.shape) == 0
        logits = logits.masked_fill(outside, -torch.inf)
    axis = torch.tensor([-1.0, 0.0, 1.0], dtype=query.dtype)
    offsets = torch.cartesian_prod(axis, axis, axis)
    result = logits.softmax(-1) @ offsets
    return result.view(batch, -1, 3 * heads).mT.reshape(batch, 3 * heads, *size)


def plain_warp(data: Tensor, displacement: Tensor) -> Tensor:
    """Interpolate with aligned corners and zeros outside."""
    size = displacement.shape[2:]
    axes = [torch.arange(n, dtype=displacement.dtype) for n in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] + displacement
    scaled = [2 * (grid[:, axis] / max(n - 1, 1) - 0.5) for axis, n in enumerate(size)]
    return F.grid_sample(data, torch.stack(scaled[::-1], -1), align_corners=True)


def plain_compose(first: Tensor, then: Tensor) -> Tensor:
    return plain_warp(first, then) + then


def _encode(model: PAN, image: Tensor) -> list[Tensor]:
    data = F.leaky_relu(F.conv3d(image, model.stem.weight, model.stem.bias, padding=1), SLOPE)
    features = []
    for index, level in enumerate(model.encoder):
        if index:
            data = F.avg_pool3d(data, 2)
        for block in (level.first, level.second):
            convolution = block.convolution
            data = F.conv3d(data, convolution.weight, convolution.bias, padding=1)
            data = F.leaky_relu(F.instance_norm(data), SLOPE)
        hidden = F.leaky_relu(data.mean((2, 3, 4)) @ level.excite.squeeze.T, 0.01)
        gate = torch.sigmoid(hidden @ level.excite.excite.T)
        data = data * gate[:, :, None, None, None]
        features.append(data)
    return features


def _project(model: PAN, level: int, features: Tensor) -> Tensor:
    projection = model.projections[level]
    return projection.norm(projection.linear(features.movedim(1, -1))).movedim(-1, 1)


def plain_forward(model: PAN, fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the displacement that ``model`` should predict, for one pair, from the very same weights."""
    fixed_features, moving_features = _encode(model, fixed), _encode(model, moving)
    displacement = None
    for level in reversed(range(5)):
        fixed_image, moving_image = (F.avg_pool3d(image, 2**level) for image in (fixed, moving))
        query = torch.cat([fixed_features[level], fixed_image], 1)
        key = torch.cat([moving_features[level], moving_image], 1)
        if displacement is not None:
            displacement = F.interpolate(2 * displacement, scale_factor=2, mode="trilinear", align_corners=True)
            key = plain_warp(key, displacement)
        offsets = plain_attention(
            _project(model, level, query),
            _project(model, level, key),
            model.position_biases[level],
            model.mask_outside,
        )
        head = model.displacement_heads[level].convolution
        step = F.conv3d(offsets, head.weight, head.bias, padding=1)
        displacement = step if displacement is None else plain_compose(displacement, step)
    return displacement


def shake(model: PAN, seed: int = 0) -> PAN:
    """Give every parameter a size at which it matters; a new model hardly moves anything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "linear.weight" in name:
                parameter.copy_(0.3 * noise)
            elif "displacement_heads" in name:
                parameter.copy_(0.01 * noise)
            elif "bias" in name or "norm" in name:
                parameter.add_(0.2 * noise)
    return model
