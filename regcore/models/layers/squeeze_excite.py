"""Channel gate from global averages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.layers.normalisation import rows


class SqueezeExcite(nn.Module):
    """Compute one factor in (0, 1) per channel: average, two linear maps without bias, sigmoid.

    The gate is returned and not applied: what follows is linear, so it can act on weights or on a smaller
    map.

    Args:
        channels: number of channels C of the input.
        reduction: the hidden layer has ``C // reduction`` units. With fewer channels than that it is empty
            and the gate is 1/2 throughout, as in the published network with its smallest width.

    Reference:
        Hu, Shen, Sun: Squeeze-and-Excitation Networks, CVPR 2018, arXiv:1709.01507.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        # Plain parameters: nn.Linear warns about empty ones.
        self.squeeze = nn.Parameter(torch.empty(hidden, channels))
        self.excite = nn.Parameter(torch.empty(channels, hidden))
        if hidden:
            nn.init.uniform_(self.squeeze, -(channels**-0.5), channels**-0.5)
            nn.init.uniform_(self.excite, -(hidden**-0.5), hidden**-0.5)

    def forward(self, data: Tensor) -> Tensor:
        """Return the gate ``(N, C)`` of ``data``, ``(N, C, *size)``."""
        average = rows(data).mean(1, dtype=torch.float32)
        hidden = F.leaky_relu(F.linear(average, self.squeeze.float()), 0.01)
        return torch.sigmoid(F.linear(hidden, self.excite.float()))
