"""ReSAAtt as the paper writes it, with one score map per patch: what ours is compared with."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.layers.residual_attention import ResidualAttention
from regcore.models.resaatt import ReSAAttUNet


def cut(data: Tensor, kernel: int, stride: int) -> Tensor:
    """Return the patches of ``(N, C, *size)`` about the centres 0, stride, .., ``(N, F, C, *kernel)``."""
    size = data.shape[2:]
    padded = F.pad(data, (kernel // 2,) * (2 * len(size)))
    corners = itertools.product(*(range(0, n, stride) for n in size))
    return torch.stack([padded[(..., *(slice(a, a + kernel) for a in corner))] for corner in corners], dim=1)


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel: int = 5,
    stride: int = 3,
    scaled: bool = True,
    overlap_norm: bool = True,
) -> Tensor:
    """Correlate with all patches of ``key``, softmax, convolve with those of ``value``; one group per item.

    ``key`` and ``value`` may be smaller than ``query``: patches are laid out at the size of ``query``.
    """
    batch, channels, *size = query.shape
    two = len(size) == 2
    correlate, convolve = (F.conv2d, F.conv_transpose2d) if two else (F.conv3d, F.conv_transpose3d)
    keys, values = (cut(data, kernel, stride).flatten(0, 1) for data in (key, value))
    scores = correlate(query.reshape(1, batch * channels, *size), keys, padding=kernel // 2, groups=batch)
    scale = keys[0].numel() ** -0.5 if scaled else 1.0
    weights = (scores.view(batch, -1, *size) * scale).softmax(dim=1)
    found = convolve(weights.reshape(1, -1, *size), values, padding=kernel // 2, groups=batch)
    if overlap_norm:
        ones = (query.new_ones(1, 1, *n) for n in (size, [kernel] * len(size)))
        found = found / convolve(*ones, padding=kernel // 2)
    return found.view(batch, channels, *size)


def plain_cell(cell: ResidualAttention, data: Tensor) -> Tensor:
    """Return what the cell gives, from separate convolutions for query, key and value."""
    batch, _, *size = data.shape
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=data.dtype) for n in size), indexing="ij")
    seen = torch.cat([data, *(axis.expand(batch, 1, *size) for axis in axes)], dim=1)
    first, first_norm, _, second, second_norm, _ = cell.project
    channels = cell.out.in_channels
    maps = []
    for part in range(3):
        mine = slice(part * channels, (part + 1) * channels)
        found = seen
        for convolution, norm in ((first, first_norm), (second, second_norm)):
            found = _convolved(found, convolution.weight[mine])
            found = F.batch_norm(
                found, norm.running_mean[mine], norm.running_var[mine], norm.weight[mine], norm.bias[mine]
            ).relu()
        maps.append(found)
    options = cell.options
    found = plain_attention(*maps, options.kernel, options.stride, options.scaled, options.overlap_norm)
    return data + cell.out(found)


def _convolved(data: Tensor, weight: Tensor) -> Tensor:
    return (F.conv2d if data.ndim == 4 else F.conv3d)(data, weight, padding=1)


def plain_forward(model: ReSAAttUNet, fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the displacement that ``model`` should predict in evaluation mode, for sides divisible by 8."""
    pool = F.max_pool2d if fixed.ndim == 4 else F.max_pool3d
    first, second, third, bottom = model.encoder
    data = torch.cat([fixed, moving], dim=1)
    skips = []
    for encode, cell in zip((first, second, third), model.cells, strict=True):
        data = encode(data)
        skips.append(plain_cell(cell, data) if isinstance(cell, ResidualAttention) else data)
        data = pool(data, 2)
    data = bottom(data)
    for level in (2, 1, 0):
        data = model.decoder[level](torch.cat([skips[level], model.doublings[level](data)], dim=1))
    return model.head(data)


def shake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and statistic a size at which it matters, and evaluate with them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if name.startswith("head"):
                tensor.copy_(0.1 * noise)
            elif name.endswith("running_var"):
                tensor.copy_(0.3 + 0.3 * noise.abs())
            elif tensor.is_floating_point():
                tensor.add_(0.1 * noise)
    return model.eval()
