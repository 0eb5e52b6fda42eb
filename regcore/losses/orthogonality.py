"""Penalty on attention heads that see the same thing."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.losses._inputs import in_full_precision

Form = Literal["code", "paper"]
FORMS: tuple[Form, ...] = ("code", "paper")


@in_full_precision
def orthogonality(heads: Tensor, form: Form = "code") -> Tensor:
    """Return the mean squared difference between the heads' Gram matrix and the identity.

    ``paper``: every head is one vector of unit length, so the Gram matrix holds the cosines between heads.
    Two equal heads give 1/2.

    ``code``: as the authors released it. Vectors across heads have unit length at every voxel and channel,
    then the rows of the Gram matrix have. Two equal (or opposite) heads give 1 - sqrt(1/2) = 0.293.

    Args:
        heads: ``(N, S, C, *size)``, S heads.
        form: which of the two.

    Returns:
        A scalar, float32, the mean over the batch; 0 for a single head.

    Raises:
        ValueError: unknown form.

    Reference:
        Wang, Wang, Wang: Pyramid Attention Network for Medical Image Registration, ISBI 2024.
    """
    if form not in FORMS:
        raise ValueError(f"form: expected one of {', '.join(FORMS)}, got {form!r}")
    vectors = heads.flatten(2)
    if form == "paper":
        vectors = F.normalize(vectors, dim=2)
        gram = vectors @ vectors.mT
    else:
        vectors = F.normalize(vectors, dim=1)
        gram = F.normalize(vectors @ vectors.mT, dim=2)
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    return (gram - identity).square().mean()
