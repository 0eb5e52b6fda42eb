"""Attention-Reg: rigid MRI-ultrasound registration by cross-modal attention.

Reference: Song, Guo, Xu, Chao, Xu, Turkbey, Wood, Wang, Yan, "Cross-modal Attention for MRI and Ultrasound Volume
Registration", MICCAI 2021. Written from the paper and its parameter table.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcore.models._registry import ModelInfo, register_model
from regcore.models.base import Centre, Convention, FixedInput, Normalise, RigidModel, Units
from regcore.models.layers.convolution import single_channel_convolution

_FEATURES, _INNER = 32, 16
_PAPER_SIZE = (32, 96, 96)
_SMALL_SIZE = (16, 48, 48)


class CrossModalAttention(nn.Module):
    """The paper's block, equation 1: what the primary features hold where they match each cross feature.

    Args:
        zero_init: start as the identity, its last normalisation at 0; the paper's code starts it at 1.
    """

    def __init__(self, zero_init: bool = False) -> None:
        super().__init__()
        self.query = nn.Conv3d(_FEATURES, _INNER, 1)
        self.key = nn.Conv3d(_FEATURES, _INNER, 1)
        self.value = nn.Conv3d(_FEATURES, _INNER, 1)
        self.out = nn.Conv3d(_INNER, _FEATURES, 1)
        self.norm = nn.BatchNorm3d(_FEATURES)
        self.zero_init = zero_init

    def forward(self, primary: Tensor, cross: Tensor) -> Tensor:
        """Return ``(N, 32, *size)``: ``primary`` plus what each position of ``cross`` attends to in it."""
        query, key, value = self.tokens(primary, cross)
        # No 1/sqrt(d): the paper's exponent is the bare product. In float32, its logits grow large.
        with torch.autocast(query.device.type, enabled=False):
            found: Tensor = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), scale=1.0)
        attended: Tensor = self.norm(self.out(_as_volume(found, primary)))
        return attended + primary

    def tokens(self, primary: Tensor, cross: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query (of ``cross``), key and value (of ``primary``), each ``(N, 1, positions, 16)``."""
        return _as_tokens(self.query(cross)), _as_tokens(self.key(primary)), _as_tokens(self.value(primary))

    def weights(self, primary: Tensor, cross: Tensor, position: int) -> Tensor:
        """Return the attention of one position of ``cross`` over those of ``primary``, ``(N, *size)``, sum 1."""
        query, key, _ = self.tokens(primary, cross)
        logits = (query[:, 0, position, None] * key[:, 0]).sum(dim=2)
        return logits.float().softmax(dim=1).view(len(primary), *primary.shape[2:])


class AttentionReg(RigidModel):
    """Two feature extractors, cross-modal attention both ways, a small registrator; see `attention_reg`.

    Args:
        input_size: sides (z, y, x) of the crop, multiples of 2 along z and of 4 along y and x.
        attention: with the cross-modal block, or without it (the paper's Feature-Reg).
        zero_init_block: see `CrossModalAttention`.
        dropout: share of the flattened features left out in training; the paper has none.
        convention: see `RigidModel`.

    Raises:
        ValueError: an input size that cannot be halved as often as needed.
    """

    def __init__(
        self,
        input_size: tuple[int, int, int],
        convention: Convention,
        *,
        attention: bool = True,
        zero_init_block: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_size, convention)
        if min(input_size) < 1 or any(n % m for n, m in zip(input_size, (2, 4, 4), strict=True)):
            raise ValueError(f"input_size: expected (z, y, x) in multiples of (2, 4, 4) voxels, got {input_size}")
        self.fixed_path, self.moving_path = _extractor(), _extractor()
        blocks = [CrossModalAttention(zero_init_block) for _ in range(2)] if attention else []
        self.blocks = nn.ModuleList(blocks)
        depth, height, width = input_size
        positions = (depth // 2) * (height // 4) * (width // 4)
        self.fuse = nn.Sequential(
            nn.BatchNorm3d(2 * _FEATURES),
            nn.Conv3d(2 * _FEATURES, 16, 1),
            nn.ReLU(),
            nn.Conv3d(16, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(4, 1, 3, padding=1),
            nn.BatchNorm3d(1),
            nn.Flatten(),
            nn.ReLU(),
        )
        self.drop = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(positions, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 6))
        self.apply(_initialise)
        if zero_init_block:
            for block in blocks:
                nn.init.zeros_(block.norm.weight)

    def predict(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the six numbers of the head for normalised crops; see `RigidModel.forward`."""
        return self.register_features(*self.attend(*self.extract(fixed, moving)))

    def extract(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of both crops before any attention, each ``(N, 32, z/2, y/4, x/4)``."""
        return _features(self.fixed_path, fixed), _features(self.moving_path, moving)

    def attend(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """Return what Grad-CAM looks at: the features after the blocks and their ReLU."""
        if not self.blocks:
            return F.relu(fixed), F.relu(moving)
        first, second = self.blocks
        return F.relu(first(fixed, moving)), F.relu(second(moving, fixed))

    def register_features(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the six numbers of the head from the attended features."""
        fused = self.drop(self.fuse(torch.cat([fixed, moving], dim=1)))
        # In float32 under autocast too: bfloat16 would round a shift of 10 mm by up to 0.03 mm.
        with torch.autocast(fused.device.type, enabled=False):
            found: Tensor = self.head(fused.float())
        return found


def _extractor() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(1, _FEATURES, 3, padding=1, bias=False),
        nn.BatchNorm3d(_FEATURES),
        nn.ReLU(),
        nn.MaxPool3d(3, 2, 1),
        nn.Conv3d(_FEATURES, _FEATURES, 3, padding=1, bias=False),
        nn.BatchNorm3d(_FEATURES),
        nn.ReLU(),
        nn.MaxPool3d(3, (1, 2, 2), 1),
    )


def _features(path: nn.Sequential, crop: Tensor) -> Tensor:
    """Run ``path`` with channels innermost from its first convolution on: half the time on a CPU."""
    first = cast(nn.Conv3d, path[0])
    found: Tensor = path[1:](single_channel_convolution(crop, first.weight, first.bias))
    return found


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _as_tokens(volume: Tensor) -> Tensor:
    # Contiguous with the channels last: from a transposed view SDPA takes its slow path on the CPU.
    return volume.flatten(2).transpose(1, 2).contiguous().unsqueeze(1)


def _as_volume(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.squeeze(1).transpose(1, 2).reshape(len(like), _INNER, *like.shape[2:])


_PAPER = "Song et al.: Cross-modal Attention for MRI and Ultrasound Volume Registration, MICCAI 2021"


def _info(name: str, size: tuple[int, int, int]) -> ModelInfo:
    spacing = 0.7 if size == _PAPER_SIZE else 1.4  # in the plane, of a crop about a gland of usual size
    return ModelInfo(name, "rigid", (3,), _PAPER, default_spacing_mm=spacing, size_multiple=1)


@register_model(_info("attention-reg", _PAPER_SIZE))
def attention_reg(
    center: Centre = "crop",
    normalise: Normalise = "joint",
    units: Units = "mm",
    zero_init_block: bool = False,
    dropout: float = 0.0,
) -> AttentionReg:
    """Make Attention-Reg (image): the MRI and the ultrasound, 32 x 96 x 96; the options are those of `Convention`."""
    convention = Convention("image", center, normalise, units)
    return AttentionReg(_PAPER_SIZE, convention, zero_init_block=zero_init_block, dropout=dropout)


@register_model(_info("attention-reg-label", _PAPER_SIZE))
def attention_reg_label(
    center: Centre = "crop",
    normalise: Normalise = "each",
    units: Units = "mm",
    zero_init_block: bool = False,
    dropout: float = 0.0,
) -> AttentionReg:
    """Make Attention-Reg (label): the gland's mask in the MRI's place."""
    convention = Convention("label", center, normalise, units)
    return AttentionReg(_PAPER_SIZE, convention, zero_init_block=zero_init_block, dropout=dropout)


@register_model(_info("feature-reg", _PAPER_SIZE))
def feature_reg(
    center: Centre = "crop",
    normalise: Normalise = "joint",
    units: Units = "mm",
    fixed_input: FixedInput = "image",
    dropout: float = 0.0,
) -> AttentionReg:
    """Make the paper's Feature-Reg: Attention-Reg without the cross-modal block."""
    return AttentionReg(
        _PAPER_SIZE, Convention(fixed_input, center, normalise, units), attention=False, dropout=dropout
    )


@register_model(_info("attention-reg-small", _SMALL_SIZE))
def attention_reg_small(
    center: Centre = "crop",
    normalise: Normalise = "each",
    units: Units = "crop",
    zero_init_block: bool = False,
    dropout: float = 0.0,
) -> AttentionReg:
    """Make Attention-Reg (image) for crops of 16 x 48 x 48, an eighth of the work."""
    convention = Convention("image", center, normalise, units)
    return AttentionReg(_SMALL_SIZE, convention, zero_init_block=zero_init_block, dropout=dropout)


@register_model(_info("attention-reg-label-small", _SMALL_SIZE))
def attention_reg_label_small(
    center: Centre = "crop",
    normalise: Normalise = "each",
    units: Units = "crop",
    zero_init_block: bool = False,
    dropout: float = 0.0,
) -> AttentionReg:
    """Make Attention-Reg (label) for crops of 16 x 48 x 48."""
    convention = Convention("label", center, normalise, units)
    return AttentionReg(_SMALL_SIZE, convention, zero_init_block=zero_init_block, dropout=dropout)
