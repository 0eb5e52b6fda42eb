"""The way to a network by name."""

from __future__ import annotations

from pathlib import Path

from regcore.models._checkpoint import load_weights
from regcore.models._registry import build_model
from regcore.models.base import Network


def create_model(name: str, weights: Path | None = None, **options: object) -> Network:
    """Make the network ``name``.

    Args:
        name: one of `list_models`.
        weights: file written by `save_model`; without it the weights are new.
        options: of the network, see the function registered under the name; wrong ones are refused.

    Raises:
        ValueError: unknown name or option, a path in place of a name, or weights that do not fit.
        FileNotFoundError: there is no file ``weights``.

    Examples:
        >>> model = create_model("pan", channels=4)
        >>> sum(parameter.numel() for parameter in model.parameters())
        900127
    """
    model = build_model(name, options)
    if weights is not None:
        load_weights(model, weights)
    return model
