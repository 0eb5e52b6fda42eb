"""PAN: a pyramid of local attention, coarse to fine.

Reference:
    Wang, Wang, Wang: Pyramid Attention Network for Medical Image Registration, ISBI 2024. Written anew from
    the description; no code or weights of the authors, whose release has no licence.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.losses.orthogonality import FORMS, Form, orthogonality
from regcore.models._registry import ModelInfo, register_model
from regcore.models.base import Prediction, RegistrationModel
from regcore.models.layers.convolution import convolution3, single_channel_convolution
from regcore.models.layers.fields import compose, upsample
from regcore.models.layers.local_attention import local_attention
from regcore.models.layers.normalisation import channels_last, instance_norm_leaky_relu_
from regcore.models.layers.pooling import halve
from regcore.models.layers.projection import Projection
from regcore.models.layers.squeeze_excite import SqueezeExcite
from regcore.ops.contrast import matched
from regcore.ops.sampling import warp

_HEADS = (1, 1, 2, 4, 8)  # per level, finest first
_HEAD_CHANNELS = 6
_SLOPE = 0.1

# Without gradients, images larger than this (voxels) go through the encoder one after the other: the finest
# feature maps are most of the memory, and at this size a batch is no faster.
_LARGE = 2**18


class ConvNormActivate(nn.Module):
    """3x3x3 convolution, instance norm, leaky ReLU.

    The normalisation removes whatever the bias adds, so the bias is kept for its place in checkpoints, does
    not take part and is not trained.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(incoming, outgoing, 3, padding=1)
        assert self.convolution.bias is not None
        self.convolution.bias.requires_grad_(False)

    def forward(self, data: Tensor) -> Tensor:
        """Return ``(N, outgoing, *size)`` for ``(N, incoming, *size)``, channels innermost."""
        convolved = convolution3(channels_last(data), self.convolution.weight)
        return instance_norm_leaky_relu_(convolved, _SLOPE)


class EncoderLevel(nn.Module):
    """Two convolution blocks and the channel gate of one level."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.first = ConvNormActivate(incoming, outgoing)
        self.second = ConvNormActivate(outgoing, outgoing)
        self.excite = SqueezeExcite(outgoing)

    def forward(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features ``(N, C, *size)`` and the gate ``(N, C)`` still to be applied to them."""
        features = self.second(self.first(data))
        return features, self.excite(features)


class DisplacementHead(nn.Module):
    """Fuses the offsets that the heads of a level found into one displacement; nearly zero at the start."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(3 * heads, 3, 3, padding=1)
        nn.init.normal_(self.convolution.weight, std=1e-5)
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)

    def forward(self, offsets: Tensor) -> Tensor:
        """Return ``(N, 3, *size)``, voxels, for ``(N, 3 S, *size)``; float32 also under autocast."""
        with torch.autocast(offsets.device.type, enabled=False):
            return convolution3(channels_last(offsets), self.convolution.weight, self.convolution.bias)


class PAN(RegistrationModel):
    """Pyramid attention network.

    One encoder gives both images features at five scales. From the coarsest on, each level warps the moving
    features with what is known, looks where among its neighbours each fixed voxel finds itself, and
    composes this step with the displacement so far.

    Args:
        channels: features of the first convolution; the levels have 2, 4, 8, 16, 32 times as many.
        mask_outside: no attention to neighbours outside the volume and those opposite. The published
            network lets them take part as zeros, which pulls at the faces.
        orth: form of the penalty on similar heads: ``code`` as released (the level with two heads alone) or
            ``paper`` (summed over the levels with several heads).
        keep_unused: also hold the projections of the flow that the release creates and never uses (3,888
            parameters).
        match_contrast: give the moving image the fixed one's contrast first (`regcore.ops.contrast.matched`): for pairs
            of different contrast, which must lie roughly on each other. Not part of the published network.

    Raises:
        ValueError: ``channels`` is not positive or ``orth`` unknown.
    """

    def __init__(
        self,
        channels: int = 8,
        *,
        mask_outside: bool = False,
        orth: Form = "code",
        keep_unused: bool = False,
        match_contrast: bool = False,
    ) -> None:
        super().__init__(dimensions=3, size_multiple=16)
        if channels < 1:
            raise ValueError(f"channels must be positive, got {channels}")
        if orth not in FORMS:
            raise ValueError(f"orth must be one of {', '.join(FORMS)}, got {orth!r}")
        self.match_contrast = match_contrast
        self.mask_outside = mask_outside
        self.orth = orth
        widths = [channels * 2**level for level in range(1, len(_HEADS) + 1)]
        self.stem = nn.Conv3d(1, channels, 3, padding=1)
        self.encoder = nn.ModuleList(
            EncoderLevel(incoming, outgoing)
            for incoming, outgoing in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.projections = nn.ModuleList(
            Projection(width, _HEAD_CHANNELS * heads) for width, heads in zip(widths, _HEADS, strict=True)
        )
        self.position_biases = nn.ParameterList(torch.zeros(heads, 3, 3, 3) for heads in _HEADS)
        self.displacement_heads = nn.ModuleList(DisplacementHead(heads) for heads in _HEADS)
        if keep_unused:
            # The width is inferred from the published number of parameters.
            unused = nn.ModuleList(
                nn.Sequential(nn.Linear(3, 81 * heads), nn.LayerNorm(81 * heads)) for heads in _HEADS[:-1]
            )
            self.unused = unused.requires_grad_(False)

    def predict(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the displacement ``(N, 3, *size)`` for sides divisible by 16.

        The penalties are ``orthogonality_query`` and ``orthogonality_key``.
        """
        if self.match_contrast:
            moving = matched(moving, fixed)
        queries, keys = self._encode(fixed, moving)
        penalties = dict.fromkeys(
            ("orthogonality_query", "orthogonality_key"), fixed.new_zeros((), dtype=torch.float32)
        )
        displacement: Tensor | None = None
        for level in reversed(range(len(_HEADS))):
            # Popped, so that each level's maps are gone once it is done.
            query, key = queries.pop(), keys.pop()
            if displacement is not None:
                displacement = upsample(displacement)
                key = warp(key, displacement)
            query, key = self._normalise(level, query), self._normalise(level, key)
            if self._penalised(level):
                for name, heads in (("orthogonality_query", query), ("orthogonality_key", key)):
                    split = heads.view(heads.shape[0], _HEADS[level], _HEAD_CHANNELS, *heads.shape[2:])
                    penalties[name] = penalties[name] + orthogonality(split, self.orth)
            step = self._attend(level, query, key)
            displacement = step if displacement is None else compose(displacement, step)
        assert displacement is not None
        return Prediction(displacement, penalties)

    def _penalised(self, level: int) -> bool:
        return _HEADS[level] > 1 if self.orth == "paper" else level == 2

    def _normalise(self, level: int, mixed: Tensor) -> Tensor:
        projection = self.projections[level]
        assert isinstance(projection, Projection)
        with torch.autocast(mixed.device.type, enabled=False):
            return projection.normalise(mixed)

    def _attend(self, level: int, query: Tensor, key: Tensor) -> Tensor:
        bias = self.position_biases[level]
        offsets = local_attention(query, key, bias, mask_outside=self.mask_outside)
        return self.displacement_heads[level](offsets)  # type: ignore[no-any-return]

    def _encode(self, fixed: Tensor, moving: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the linearly mixed features of both images, finest level first, each ``(N, 6 S, *size)``."""
        if not torch.is_grad_enabled() and fixed[0].numel() > _LARGE:
            return self._encode_images(fixed), self._encode_images(moving)
        both = self._encode_images(torch.cat([fixed, moving]))
        halves = [mixed.chunk(2) for mixed in both]
        return [half[0] for half in halves], [half[1] for half in halves]

    def _encode_images(self, image: Tensor) -> list[Tensor]:
        data = F.leaky_relu_(single_channel_convolution(image, self.stem.weight, self.stem.bias), _SLOPE)
        mixed: list[Tensor] = []
        gate: Tensor | None = None
        for level, projection in zip(self.encoder, self.projections, strict=True):
            assert isinstance(projection, Projection)
            if gate is not None:
                image = halve(image)
                data = halve(data) * gate.to(data.dtype)[..., None, None, None]
            data, gate = level(data)
            mixed.append(projection.mix(data, gate, image))
        return mixed


@register_model(
    ModelInfo(
        name="pan",
        kind="deformable",
        dimensions=(3,),
        paper="Wang, Wang, Wang: Pyramid Attention Network for Medical Image Registration, ISBI 2024",
        default_spacing_mm=1.0,
        size_multiple=16,
    )
)
def pan(
    channels: int = 8,
    mask_outside: bool = False,
    orth: Form = "code",
    keep_unused: bool = False,
    match_contrast: bool = False,
) -> PAN:
    """Make PAN; the options are those of `PAN`."""
    return PAN(channels, mask_outside=mask_outside, orth=orth, keep_unused=keep_unused, match_contrast=match_contrast)
