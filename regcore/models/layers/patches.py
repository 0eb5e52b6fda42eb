"""Between voxels and tokens: change of resolution, and the way from tokens back to a displacement at full size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.layers.convolution import convolution3
from regcore.models.layers.normalisation import channels_last

PATCH = 4  # voxels a side of a token, unless told otherwise

_VOXELS = 2**20  # of the features at full size that are there at a time without gradients


class Resample(nn.Module):
    """A convolution whose stride is its side, down or up, and a layer norm; channels last."""

    def __init__(self, convolution: nn.Conv3d | nn.ConvTranspose3d) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.LayerNorm(convolution.out_channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``(N, *new size, new C)`` for ``(N, *size, C)``; to be halved, odd sides are filled up with zeros."""
        data = tokens.movedim(-1, 1)
        if isinstance(self.convolution, nn.Conv3d):
            data = F.pad(data, [amount for n in reversed(data.shape[2:]) for amount in (0, n % 2)])
        out: Tensor = self.norm(self.convolution(data).movedim(1, -1).contiguous())
        return out


class DisplacementHead(nn.Module):
    """Makes a displacement from the tokens of both images, nearly zero at the start.

    Args:
        channels: of the tokens of one image.
        patch: voxels a side of a token.
    """

    def __init__(self, channels: int, patch: int = PATCH) -> None:
        super().__init__()
        self.patch = patch
        self.norm = nn.LayerNorm(2 * channels)
        self.expand = nn.ConvTranspose3d(2 * channels, channels // 2, patch, stride=patch)
        self.convolution = nn.Conv3d(channels // 2, 3, 3, padding=1)
        nn.init.normal_(self.convolution.weight, std=1e-5)
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)

    def forward(self, pair: Tensor) -> Tensor:
        """Return ``(N, 3, *patch size)``, voxels, for ``(2 N, *size, C)``; float32 also under autocast."""
        both = torch.cat(pair.chunk(2), dim=-1)
        rows = step = both.shape[1]
        if not torch.is_grad_enabled():
            step = max(1, _VOXELS // (self.patch**3 * both[:, 0, ..., 0].numel()))
        return torch.cat([self._rows(both, start, min(start + step, rows)) for start in range(0, rows, step)], dim=2)

    def _rows(self, both: Tensor, start: int, stop: int) -> Tensor:
        """Return the voxels of the tokens ``start:stop`` along the first axis."""
        above, below = int(start > 0), int(stop < both.shape[1])
        data = self.expand(self.norm(both[:, start - above : stop + below]).movedim(-1, 1))
        # Of the tokens beyond, the convolution needs one row of voxels; its own padding there is cut off below.
        spare = self.patch - 1
        data = data[:, :, spare * above : data.shape[2] - spare * below]
        with torch.autocast(data.device.type, enabled=False):
            weight, bias = self.convolution.weight, self.convolution.bias
            displacement = convolution3(channels_last(data.to(weight.dtype)), weight, bias)
        return displacement[:, :, above : displacement.shape[2] - below].contiguous()
