"""Several losses as one number, with their names kept for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class LossSum(NamedTuple):
    """What `weighted_sum` found.

    Attributes:
        total: the sum, a scalar with a gradient.
        parts: each term by its name, before its weight, without a gradient.
    """

    total: Tensor
    parts: dict[str, Tensor]


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> LossSum:
    """Add up named terms, each times its weight; a term of weight 0 is only reported.

    Args:
        terms: scalars by name.
        weights: by the same names.

    Raises:
        ValueError: there are no terms, a term has no weight, or a weight has no term.

    Examples:
        >>> found = weighted_sum({"mse": torch.tensor(0.5), "diffusion": torch.tensor(2.0)}, {"mse": 1, "diffusion": 3})
        >>> found.total.item(), found.parts["diffusion"].item()
        (6.5, 2.0)
    """
    unknown, missing = sorted(terms.keys() - weights.keys()), sorted(weights.keys() - terms.keys())
    if unknown:
        raise ValueError(f"terms: no weight is given for {', '.join(unknown)}; there are {', '.join(sorted(weights))}")
    if missing or not terms:
        raise ValueError(f"terms: expected {', '.join(missing) or 'one or more'} too, got {', '.join(terms) or 'none'}")
    total = sum((weights[name] * term for name, term in terms.items() if weights[name] != 0), start=torch.zeros(()))
    return LossSum(total, {name: term.detach() for name, term in terms.items()})
