"""Saved networks: one safetensors file with weights and the way the network was made. No pickle."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from regcore.models._registry import build_model
from regcore.models.base import Network, Recipe

_FORMAT = "attention-registration"
_VERSION = 1


class Checkpoint(NamedTuple):
    """The content of a file written by `save_model`.

    Attributes:
        recipe: name and options of the network.
        tensors: weights by name.
        notes: what the writer added.
    """

    recipe: Recipe
    tensors: Mapping[str, Tensor]
    notes: Mapping[str, str]


def save_model(model: Network, path: Path | str, notes: Mapping[str, str] | None = None) -> None:
    """Write the weights of ``model`` and how it was made; ``path`` is replaced in one step.

    Args:
        model: a network from `create_model` or `load_model`.
        path: usually ends in ``.safetensors``.
        notes: further text to keep in the file, such as the training data.

    Raises:
        ValueError: the network does not come from the registry.
    """
    if model.recipe is None:
        raise ValueError("model must come from create_model or load_model, else its file could not be read again")
    metadata = {
        "format": _FORMAT,
        "format_version": str(_VERSION),
        "model": model.recipe.name,
        "options": json.dumps(dict(model.recipe.options), sort_keys=True),
        "notes": json.dumps(dict(notes or {}), sort_keys=True),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata)
        _keep_usual_mode(Path(temporary))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_model(path: Path | str) -> Network:
    """Return the network saved at ``path``, on the CPU, in evaluation mode.

    Raises:
        ValueError: the file is damaged, was not written by `save_model`, or does not fit its network.
        FileNotFoundError: there is no such file.
    """
    checkpoint = read_checkpoint(path)
    model = build_model(checkpoint.recipe.name, dict(checkpoint.recipe.options))
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


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a file written by `save_model`.

    Raises:
        ValueError: the file is damaged or was not written by `save_model`.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights {path} are damaged or not in safetensors format: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"weights {path} were not written by save_model: format is {metadata.get('format')!r}")
    if metadata.get("format_version") != str(_VERSION):
        raise ValueError(
            f"weights {path} have format version {metadata.get('format_version')}, "
            f"only {_VERSION} can be read; update attention-registration"
        )
    try:
        recipe = Recipe(metadata["model"], dict(json.loads(metadata["options"])))
        notes = {str(key): str(value) for key, value in json.loads(metadata["notes"]).items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"weights {path} do not say which model they belong to: {error!r}") from error
    return Checkpoint(recipe, tensors, notes)


def _fill(model: Network, checkpoint: Checkpoint, path: Path) -> None:
    try:
        model.load_state_dict(dict(checkpoint.tensors))
    except RuntimeError as error:
        raise ValueError(f"weights {path} do not fit model {checkpoint.recipe.name!r}: {error}") from error


def _keep_usual_mode(path: Path) -> None:
    # Temporary files are private to their owner; the result gets the permissions any new file would.
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
