"""Saved networks: one safetensors file with weights and the way the network was made. No pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from regcore.atomic import replacing
from regcore.models._model_file import Checkpoint, Description, Provenance, packed, read_checkpoint, read_description
from regcore.models._registry import build_model
from regcore.models.base import Network, RigidModel

__all__ = [
    "Checkpoint",
    "Description",
    "Provenance",
    "load_model",
    "load_weights",
    "read_checkpoint",
    "read_description",
    "save_model",
]

_PERCENTILES = "percentiles-0.1-99.8"  # what `regcore.preprocess.normalise` does


def save_model(
    model: Network,
    path: Path | str,
    notes: Mapping[str, str] | None = None,
    provenance: Provenance | None = None,
    *,
    half: bool = False,
) -> None:
    """Write the weights of ``model`` and all that is needed to run and judge it; ``path`` is replaced in one step.

    Args:
        model: a network from `create_model` or `load_model`.
        path: usually ends in ``.safetensors``.
        notes: further text to keep in the file.
        provenance: what it learned from and how well.
        half: store weights of two and more axes in float16, which takes half the space; the few others, such as
            biases and statistics, stay as they are. Reading gives float32.

    Raises:
        ValueError: the network does not come from the registry, a weight is too large for ``half``, something has no
            place in JSON, or the file cannot be written.
    """
    if model.recipe is None:
        raise ValueError("model must come from create_model or load_model, else its file could not be read again")
    known = provenance or Provenance()
    dimensions = _dimensions(model)
    if known.size is not None and len(known.size) != dimensions:
        raise ValueError(f"size: expected {dimensions} numbers of voxels for a {dimensions}D network, got {known.size}")
    description = Description(model.recipe, dimensions, _normalisation(model), known, notes or {})
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if half:
        tensors = {name: _halved(name, value) for name, value in tensors.items()}
    content = packed(description, tensors)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(content)


def load_model(path: Path | str) -> Network:
    """Return the network saved at ``path``, on the CPU, in evaluation mode.

    Raises:
        ValueError: as `read_checkpoint`, or the file does not fit its network or needs what this version cannot do.
        FileNotFoundError: there is no such file.
    """
    checkpoint = read_checkpoint(path)
    try:
        model = build_model(checkpoint.recipe.name, dict(checkpoint.recipe.options))
    except TypeError as error:
        raise ValueError(f"weights {path}: {checkpoint.recipe.name} cannot be made as they say: {error}") from error
    for what, said, done in (
        ("dimensions", checkpoint.dimensions, _dimensions(model)),
        ("normalisation", checkpoint.normalisation, _normalisation(model)),
    ):
        if said != done:
            raise ValueError(
                f"weights {path} need {what} {said}, but {checkpoint.recipe.name} has {done} here; "
                "update attention-registration"
            )
    _fill(model, checkpoint, Path(path))
    return model.eval()


def load_weights(model: Network, path: Path | str) -> None:
    """Copy the weights saved at ``path`` into ``model``.

    Raises:
        ValueError: as `load_model`, or the file holds another network.
        FileNotFoundError: there is no such file.
    """
    checkpoint = read_checkpoint(path)
    if model.recipe is not None and model.recipe.name != checkpoint.recipe.name:
        raise ValueError(f"weights {path} belong to {checkpoint.recipe.name!r}, not to {model.recipe.name!r}")
    _fill(model, checkpoint, Path(path))


def _fill(model: Network, checkpoint: Checkpoint, path: Path) -> None:
    """Copy the weights; torch's own message would list every one of them."""
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    held = {name: tuple(value.shape) for name, value in checkpoint.tensors.items()}
    if wanted != held:
        odd = sorted(name for name in wanted.keys() | held.keys() if wanted.get(name) != held.get(name))
        raise ValueError(
            f"weights {path} do not fit model {checkpoint.recipe.name!r}: {len(odd)} of its tensors differ, "
            f"such as {odd[0]}: expected {wanted.get(odd[0], 'none')}, found {held.get(odd[0], 'none')}"
        )
    model.load_state_dict(dict(checkpoint.tensors))


def _dimensions(model: Network) -> int:
    return 3 if isinstance(model, RigidModel) else model.dimensions


def _normalisation(model: Network) -> str:
    return model.convention.normalise if isinstance(model, RigidModel) else _PERCENTILES


def _halved(name: str, value: Tensor) -> Tensor:
    if value.ndim < 2 or not value.is_floating_point():
        return value
    half = value.half()
    if not torch.equal(half.isfinite(), value.isfinite()):
        raise ValueError(f"half: {name} holds {float(value.abs().max()):g}, too much for float16; save it without half")
    return half
