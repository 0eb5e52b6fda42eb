"""Projection of features and image to the channels of the attention heads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models.layers.normalisation import rows


class Projection(nn.Module):
    """A linear map of ``[features | image]`` and a layer norm over all its outputs.

    In two steps, because the moving side is warped in between: interpolation with zeros outside is linear
    too, so the linear map commutes with it, and far fewer channels have to be interpolated.

    Args:
        features: number of feature channels C, without the image.
        width: number of outputs.
        eps: of the layer norm.
    """

    def __init__(self, features: int, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.linear = nn.Linear(features + 1, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        nn.init.normal_(self.linear.weight, std=1e-5)
        nn.init.zeros_(self.linear.bias)

    def mix(self, features: Tensor, gate: Tensor, image: Tensor) -> Tensor:
        """Apply the linear map, without its bias.

        Args:
            features: ``(N, C, *size)``, channels innermost.
            gate: ``(N, C)``, factors of the channels.
            image: ``(N, 1, *size)``.

        Returns:
            ``(N, width, *size)``, channels outermost, float32.
        """
        weight = self.linear.weight
        gated = weight[:, :-1] * gate.unsqueeze(1)
        mixed: Tensor = (gated.to(features.dtype) @ rows(features).mT).float()
        mixed = mixed.addcmul_(image.flatten(2), weight[:, -1:])
        return mixed.view(*mixed.shape[:2], *image.shape[2:])

    def normalise(self, mixed: Tensor) -> Tensor:
        """Add the bias and normalise over the channels of ``mixed``, ``(N, width, *size)``."""
        shifted = mixed.movedim(1, -1) + self.linear.bias
        return F.layer_norm(
            shifted, self.norm.normalized_shape, self.norm.weight, self.norm.bias, self.norm.eps
        ).movedim(-1, 1)
