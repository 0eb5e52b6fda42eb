"""ReSAAtt: a U-Net whose skip connections gather from similar surroundings anywhere in the image.

Reference:
    Parbs, Koch, Mertins: Convolutive Attention for Image Registration, EUSIPCO 2022. Written from the
    description; no code of the authors is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models._registry import ModelInfo, register_model
from regcore.models.base import Prediction, RegistrationModel
from regcore.models.layers.normalisation import channels_last
from regcore.models.layers.patch_attention import PatchOptions
from regcore.models.layers.residual_attention import ResidualAttention
from regcore.models.layers.unet import NORMS, Norm, convolution, double_convolution, doubling
from regcore.ops.fields import exp

LEVELS = 3  # with a skip connection; below them is the bottleneck
_SQUARINGS = 7

# Pixels that go through the network at a time without gradients: on a CPU, the maps of a few slices stay in cache.
_AT_A_TIME = {"cpu": 2**16, "cuda": 2**22}


class ReSAAttUNet(RegistrationModel):
    """U-Net of three levels and a bottleneck, the skip connections of some levels passing an attention cell.

    Args:
        dimensions: 2 or 3.
        width: channels at the full size; twice as many at each level below.
        norm: ``batch`` as published, or ``group``, for training with one or two pairs at a time.
        cells: the levels with a cell, 0 being the full size, and how each attends.
        channels: of query, key and value in the cells.
        diffeomorphic: take the network's field for a stationary velocity and integrate it.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(
        self,
        dimensions: int,
        width: int,
        norm: Norm,
        *,
        cells: Mapping[int, PatchOptions],
        channels: int,
        diffeomorphic: bool,
    ) -> None:
        if dimensions not in (2, 3):
            raise ValueError(f"dimensions must be 2 or 3, got {dimensions}")
        if min(width, channels) < 1:
            raise ValueError(f"width and channels must be positive, got {width} and {channels}")
        if norm not in NORMS:
            raise ValueError(f"norm must be {' or '.join(NORMS)}, got {norm!r}")
        super().__init__(dimensions, size_multiple=2**LEVELS)
        self.diffeomorphic = diffeomorphic
        widths = [width * 2**level for level in range(LEVELS + 1)]
        self.encoder = nn.ModuleList(
            double_convolution(dimensions, incoming, outgoing, norm)
            for incoming, outgoing in zip([2, *widths[:-1]], widths, strict=True)
        )
        self.cells = nn.ModuleList(
            ResidualAttention(dimensions, widths[level], channels, norm, cells[level])
            if level in cells
            else nn.Identity()
            for level in range(LEVELS)
        )
        self.doublings = nn.ModuleList(doubling(dimensions, 2 * w, w) for w in widths[:-1])
        self.decoder = nn.ModuleList(double_convolution(dimensions, 2 * w, w, norm) for w in widths[:-1])
        self.head = convolution(dimensions)(width, dimensions, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-5)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def predict(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the displacement ``(N, D, *size)`` for sides divisible by 8; there are no penalties."""
        step = len(fixed)
        if not self.training and not torch.is_grad_enabled():
            limit = _AT_A_TIME["cpu" if fixed.device.type == "cpu" else "cuda"]
            step = max(1, limit // fixed[0].numel())
        both = torch.cat([fixed, moving], dim=1)
        field = torch.cat([self._field(part) for part in torch.split(both, step)])
        return Prediction(field, {})

    def _field(self, both: Tensor) -> Tensor:
        data = channels_last(both)
        skips: list[Tensor] = []
        for level, (encode, cell) in enumerate(zip(self.encoder, [*self.cells, None], strict=True)):
            data = encode(data if level == 0 else _halved(data))
            if cell is not None:
                skips.append(cell(data))
        for enlarge, decode in zip(reversed(self.doublings), reversed(self.decoder), strict=True):
            data = decode(torch.cat([skips.pop(), enlarge(data)], dim=1))
        with torch.autocast(data.device.type, enabled=False):
            field: Tensor = self.head(data.to(self.head.weight.dtype))
            return exp(field, _SQUARINGS) if self.diffeomorphic else field


def _halved(data: Tensor) -> Tensor:
    return F.max_pool2d(data, 2) if data.ndim == 4 else F.max_pool3d(data, 2)


def _info(name: str) -> ModelInfo:
    paper = "Parbs, Koch, Mertins: Convolutive Attention for Image Registration, EUSIPCO 2022"
    return ModelInfo(name, "deformable", (2, 3), paper, default_spacing_mm=1.5, size_multiple=2**LEVELS)


@register_model(_info("resaatt"))
def resaatt(
    dimensions: int = 2,
    width: int | None = None,
    norm: Norm = "batch",
    channels: int | None = None,
    kernel: int | None = None,
    scaled: bool = True,
    overlap_norm: bool = True,
    attention_levels: Sequence[int] | None = None,
    strides: Sequence[int] = (3, 3, 3),
    pool: int = 1,
    radius: int | None = None,
    share: float = 1.0,
    memory_mib: float | None = None,
    diffeomorphic: bool = False,
) -> ReSAAttUNet:
    """Make the U-Net with attention.

    The exact attention costs about as much as the pixels squared, nearly all of it at the full size. Larger
    images are made affordable, in this order, by leaving out the first level, by larger strides, by ``pool``,
    ``share`` (in training) or ``radius``.

    Args:
        dimensions: 2 or 3.
        width: channels at the full size; by default 32, in 3D 16.
        norm: see `ReSAAttUNet`.
        channels: of query, key and value; by default 16, in 3D 8.
        kernel: side of the patches; by default 5, in 3D 3.
        scaled: see `PatchOptions`.
        overlap_norm: see `PatchOptions`.
        attention_levels: those with a cell, of 0 (full size), 1 and 2; by default all, in 3D the last.
        strides: steps between the patches, one for each level.
        pool: see `PatchOptions`.
        radius: see `PatchOptions`; pixels of each level.
        share: see `PatchOptions`.
        memory_mib: see `PatchOptions`.
        diffeomorphic: see `ReSAAttUNet`.

    Raises:
        ValueError: an option out of range.
    """
    flat = dimensions == 2
    if attention_levels is None:
        attention_levels = range(LEVELS) if flat else [LEVELS - 1]
    if len(strides) != LEVELS or not set(attention_levels) <= set(range(LEVELS)):
        raise ValueError(
            f"attention_levels must be some of 0, 1, 2 and strides three numbers, one for each level, "
            f"got {list(attention_levels)} and {list(strides)}"
        )
    options = PatchOptions(
        kernel=kernel if kernel is not None else 5 if flat else 3,
        scaled=scaled,
        overlap_norm=overlap_norm,
        pool=pool,
        radius=radius,
        share=share,
        memory_mib=memory_mib,
    )
    return ReSAAttUNet(
        dimensions,
        width if width is not None else 32 if flat else 16,
        norm,
        cells={level: replace(options, stride=strides[level]) for level in attention_levels},
        channels=channels if channels is not None else 16 if flat else 8,
        diffeomorphic=diffeomorphic,
    )


@register_model(_info("resaatt-literal"))
def resaatt_literal(
    dimensions: int = 2,
    width: int | None = None,
    norm: Norm = "batch",
    channels: int | None = None,
    attention_levels: Sequence[int] | None = None,
    diffeomorphic: bool = False,
) -> ReSAAttUNet:
    """Make the paper's equations to the letter: `resaatt` without scaled logits and without the overlap's share."""
    return resaatt(
        dimensions,
        width,
        norm,
        channels,
        scaled=False,
        overlap_norm=False,
        attention_levels=attention_levels,
        diffeomorphic=diffeomorphic,
    )


@register_model(_info("unet"))
def unet(
    dimensions: int = 2, width: int | None = None, norm: Norm = "batch", diffeomorphic: bool = False
) -> ReSAAttUNet:
    """Make the same U-Net without attention, to compare with; the options are those of `resaatt`."""
    return resaatt(dimensions, width, norm, attention_levels=(), diffeomorphic=diffeomorphic)
