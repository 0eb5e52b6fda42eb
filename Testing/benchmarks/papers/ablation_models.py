"""Networks that an ablation trains and nobody else needs, for the trainings started by this script.

It takes the words of `regcore-train`; `model.name` may be one of those registered here.
"""

from __future__ import annotations

import sys

from regcore.models import pan
from regcore.models._registry import ModelInfo, model_info, register_model
from regcore.models.attention_reg import AttentionReg
from regcore.models.base import Convention
from regcore.models.pan import PAN
from regcore.training.command import main

_SMALL_CROP = (16, 48, 48)


def _info(name: str, of: str) -> ModelInfo:
    like = model_info(of)
    return ModelInfo(name, like.kind, like.dimensions, like.paper, like.default_spacing_mm, like.size_multiple)


@register_model(_info("feature-reg-label-small", "attention-reg-label-small"))
def feature_reg_label_small(dropout: float = 0.0) -> AttentionReg:
    """Make what ``attention-reg-label-small`` is without the cross-modal block."""
    return AttentionReg(_SMALL_CROP, Convention("label", "crop", "each", "crop"), attention=False, dropout=dropout)


@register_model(_info("pan-single-head", "pan"))
def pan_single_head(channels: int = 8) -> PAN:
    """Make PAN with one head of six channels at every level; from then on this process makes no other."""
    pan._HEADS = (1, 1, 1, 1, 1)
    return PAN(channels)


if __name__ == "__main__":
    sys.exit(main())
