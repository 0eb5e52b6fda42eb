"""AiR: registration by a transformer alone, one token per patch, one displacement per token.

Reference:
    Wang, Delingette: Attention for Image Registration (AiR): an unsupervised Transformer approach, 2021,
    hal-03202230, arXiv:2105.02282. Written anew from the description, with none of the authors' code.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.losses.regularity import diffusion
from regcore.models._registry import ModelInfo, register_model
from regcore.models.base import Prediction, RegistrationModel
from regcore.models.layers.control_grid import INJECTIVE, bspline_field, cubic_field
from regcore.models.layers.position import LearnedPositions, sincos_positions
from regcore.models.layers.transformer import Stack
from regcore.ops.fields import compose, exp
from regcore.ops.sampling import warp

FieldForm = Literal["bspline", "bicubic"]
Positions = Literal["learned", "sincos"]
EncoderImage = Literal["fixed", "moving"]

_SQUARINGS = 7
_HEAD_DEVIATION = 1e-4  # of the weights; ten times as much would start some tenths of a voxel from zero


class AiR(RegistrationModel):
    """An encoder reads the patches of one image, a decoder those of the other and what the encoder made of its own.

    Each decoded token carries one number per axis, passed through tanh: a control grid, made into a dense
    field. The paper leaves open, and here the default is:

    - "i = 4" means 4 by 4 patches (`air_mnist`), not patches of 4 by 4 pixels (`air_mnist_fine`);
    - the feed-forward nets of these two have 2048 units, the default of the library the authors used;
    - the encoder sees the fixed image, as in the text; the authors' later code feeds it the moving one;
    - these two interpolate their control grid cubically, corners aligned, as that code does.

    Fixed and moving play different parts: exchanging them does not give the inverse.

    Args:
        dimensions: 2 or 3.
        patch: side of the patches, voxels.
        reference: side of the images, voxels, for whose tokens learned positions are stored.
        width: numbers per token.
        heads: of each attention; their number divides ``width``.
        layers: blocks of the encoder, and of the decoder.
        hidden: units of the feed-forward nets.
        positions: a learned table, stretched to the image, or fixed sines and cosines along each axis.
        field: ``bspline``, control points of a cubic B-spline that move by less than 0.4 of their spacing, so
            that no pass can fold; or ``bicubic`` (tricubic in 3D), in units of half the image, as published.
        passes: how often the moving image is warped with what is known and looked at anew.
        scales: control grids: the first pass has one point per ``2**(scales - 1)`` tokens along each axis, each
            further pass twice as many, up to one per token.
        encoder_image: which image the encoder sees; the decoder sees the other.
        diffeomorphic: take the field of each pass for a stationary velocity and integrate it.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(
        self,
        dimensions: int,
        patch: int,
        reference: int,
        *,
        width: int,
        heads: int,
        layers: int,
        hidden: int,
        positions: Positions = "learned",
        field: FieldForm = "bspline",
        passes: int = 1,
        scales: int = 1,
        encoder_image: EncoderImage = "fixed",
        diffeomorphic: bool = False,
    ) -> None:
        _check_words(positions, field, encoder_image)
        if dimensions not in (2, 3):
            raise ValueError(f"dimensions must be 2 or 3, got {dimensions}")
        if not 2 <= patch <= reference or min(layers, hidden) < 1:
            raise ValueError(
                f"patch must be from 2 to {reference}, layers and hidden at least 1, got {patch}, {layers} and {hidden}"
            )
        if heads < 1 or width < 2 * dimensions or width % heads:
            raise ValueError(
                f"width must be a multiple of heads and at least {2 * dimensions}, got {width} and {heads} heads"
            )
        if not 1 <= scales <= passes:
            raise ValueError(
                f"scales must be from 1 to passes, the first pass being the coarsest, got {scales} of {passes}"
            )
        super().__init__(dimensions, size_multiple=patch)
        self.field: FieldForm = field
        self.levels = [max(scales - 1 - done, 0) for done in range(passes)]
        self.encoder_image: EncoderImage = encoder_image
        self.diffeomorphic = diffeomorphic
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.embedding = convolution(1, width, patch, stride=patch)
        self.positions = LearnedPositions(width, [reference // patch] * dimensions) if positions == "learned" else None
        self.encoder = Stack(layers, width, heads, hidden, cross=False)
        self.decoder = Stack(layers, width, heads, hidden, cross=True)
        self.heads = nn.ModuleList(nn.Linear(width, dimensions) for _ in range(scales))
        for head in self.heads:
            assert isinstance(head, nn.Linear)
            nn.init.normal_(head.weight, std=_HEAD_DEVIATION)
            nn.init.zeros_(head.bias)

    def predict(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the displacement ``(N, D, *size)`` for sides divisible by ``patch``.

        The penalty ``smoothness`` is the mean squared difference of the displacement, voxels, between neighbours.
        """
        fixed_tokens = self.embed(fixed)
        memory = self.encoder(fixed_tokens) if self.encoder_image == "fixed" else None
        displacement: Tensor | None = None
        for level in self.levels:
            seen = moving if displacement is None else warp(moving.float(), displacement)
            moving_tokens = self.embed(seen)
            if memory is None:
                decoded = self.decoder(fixed_tokens, self.encoder(moving_tokens))
            else:
                decoded = self.decoder(moving_tokens, memory)
            with torch.autocast(fixed.device.type, enabled=False):
                step = self.to_field(self.heads[level](decoded.float()), fixed.shape[2:], level)
                # Both keep their edge values outside, where zeros would tear the composed field.
                displacement = step if displacement is None else compose(step, displacement)
        assert displacement is not None
        return Prediction(displacement, {"smoothness": diffusion(displacement)})

    def embed(self, image: Tensor) -> Tensor:
        """Return the tokens ``(N, tokens, width)`` of the patches of ``(N, 1, *size)``, last axis fastest."""
        patches: Tensor = self.embedding(image)
        grid = patches.shape[2:]
        if self.positions is None:
            positions = sincos_positions(grid, patches.shape[1], patches)
        else:
            positions = self.positions(grid)
        return patches.flatten(2).mT + positions

    def to_field(self, numbers: Tensor, size: torch.Size, level: int = 0) -> Tensor:
        """Return the field ``(N, D, *size)``, voxels, that the head's numbers stand for.

        Args:
            numbers: ``(N, tokens, D)``, any values; the tokens in the order of `embed`.
            size: sides divisible by ``patch``.
            level: how often the control grid is halved.
        """
        points = [n // self.size_multiple for n in size]
        grid = numbers.mT.reshape(*numbers.shape[::2], *points)
        if level:
            average = F.avg_pool2d if self.dimensions == 2 else F.avg_pool3d
            grid = average(grid, 2**level, ceil_mode=True)
        control = torch.tanh(grid)
        if self.field == "bspline":
            spacing = self.size_multiple * 2**level
            dense = bspline_field(INJECTIVE * spacing * control, spacing, size)
        else:
            half_sides = control.new_tensor([(n - 1) / 2 for n in size])
            dense = cubic_field(control * half_sides.view(-1, *[1] * self.dimensions), size)
        return exp(dense, _SQUARINGS) if self.diffeomorphic else dense


def _check_words(positions: Positions, field: FieldForm, encoder_image: EncoderImage) -> None:
    for name, value, known in (
        ("positions", positions, get_args(Positions)),
        ("field", field, get_args(FieldForm)),
        ("encoder_image", encoder_image, get_args(EncoderImage)),
    ):
        if value not in known:
            raise ValueError(f"{name} must be {' or '.join(known)}, got {value!r}")


def _info(name: str, dimensions: tuple[int, ...], spacing_mm: float, patch: int) -> ModelInfo:
    paper = "Wang, Delingette: Attention for Image Registration (AiR): an unsupervised Transformer approach, 2021"
    return ModelInfo(name, "deformable", dimensions, paper, default_spacing_mm=spacing_mm, size_multiple=patch)


@register_model(_info("air", (2, 3), 1.5, 8))
def air(
    dimensions: int = 3,
    layers: int = 2,
    patch: int = 8,
    positions: Positions = "sincos",
    field: FieldForm = "bspline",
    passes: int = 2,
    scales: int = 2,
    encoder_image: EncoderImage = "fixed",
    diffeomorphic: bool = False,
) -> AiR:
    """Make AiR for medical images, a first stage for large motion; the options are those of `AiR`.

    Its positions are fixed sines and cosines: it learns faster with them than with a learned table, and images of
    other sizes do not stretch them.
    """
    return AiR(
        dimensions,
        patch,
        112 if dimensions == 2 else 96,
        width=128,
        heads=8,
        layers=layers,
        hidden=512,
        positions=positions,
        field=field,
        passes=passes,
        scales=scales,
        encoder_image=encoder_image,
        diffeomorphic=diffeomorphic,
    )


@register_model(_info("air-mnist", (2,), 1.0, 7))
def air_mnist(hidden: int = 2048, positions: Positions = "learned", encoder_image: EncoderImage = "fixed") -> AiR:
    """Make the paper's AiR for digits of 28 by 28 pixels: 4 by 4 patches of 7 by 7 pixels."""
    return _paper(7, hidden, positions, encoder_image)


@register_model(_info("air-mnist-fine", (2,), 1.0, 4))
def air_mnist_fine(hidden: int = 2048, positions: Positions = "learned", encoder_image: EncoderImage = "fixed") -> AiR:
    """Make the paper's AiR with 7 by 7 patches of 4 by 4 pixels; without the smoothness penalty it folds."""
    return _paper(4, hidden, positions, encoder_image)


def _paper(patch: int, hidden: int, positions: Positions, encoder_image: EncoderImage) -> AiR:
    return AiR(
        2,
        patch,
        28,
        width=16,
        heads=4,
        layers=1,
        hidden=hidden,
        positions=positions,
        field="bicubic",
        encoder_image=encoder_image,
    )
