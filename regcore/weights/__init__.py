"""Trained networks: those that come with the package, with a card for each, and those in the user's folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from regcore.models import dimension_option, load_model
from regcore.models._registry import build_model
from regcore.models.base import Network
from regcore.weights._catalogue import Stored, all_models, find_model, network_of, stored, stored_models, user_models
from regcore.weights._folders import check_name, files_of, package_folder, places, user_folder
from regcore.weights._importing import Imported, import_model, import_stages
from regcore.weights._kept import forget_models, keep_models, kept

__all__ = [
    "Imported",
    "Stored",
    "Trained",
    "all_models",
    "card",
    "check_name",
    "find_model",
    "forget_models",
    "import_model",
    "import_stages",
    "is_trained",
    "keep_models",
    "load_file",
    "load_trained",
    "network_of",
    "stand_in",
    "stored",
    "stored_models",
    "user_folder",
    "user_models",
    "weight_files",
]

# What runs in the place of a network that has no weights of its name, and what sets it apart.
_CROPS = "the same network for smaller crops"
_STAND_INS = {
    "attention-reg": ("attention-reg-small", _CROPS),
    "attention-reg-label": ("attention-reg-label-small", _CROPS),
    "pan": ("pan-any", "the same network, trained on random shapes"),
}


@dataclass(frozen=True)
class Trained:
    """Networks ready to run.

    Attributes:
        name: of the model whose weights these are.
        networks: one per stage, on the CPU, in evaluation mode.
        files: name and SHA-256 of each weights file; empty: the weights are new.
        warning: a sentence when this is not quite what was asked for.
    """

    name: str
    networks: tuple[Network, ...]
    files: dict[str, str]
    warning: str | None = None


def weight_files(name: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Return the files of a model's stages in order; none if it has none.

    Args:
        name: of a model.
        folder: where to look; the user's folder and then the package's unless told.

    Raises:
        ValueError: no model has this name.
    """
    network_of(name)
    return next((files for _, place in places(folder) if (files := files_of(place, name))), ())


def stand_in(name: str) -> str | None:
    """Return the model that runs in the place of ``name`` while that has no weights."""
    other, _ = _STAND_INS.get(name, (None, ""))
    here = {name: any(files_of(place, name) for _, place in places(None)) for name in (name, other) if name}
    return other if other and here[other] and not here[name] else None


def card(name: str) -> str | None:
    """Return the text of a model's card, beside its weights: data, steps, figures, limits; None if it has none."""
    files = weight_files(name)
    path = (files[0].parent if files else package_folder()) / f"{name}.md"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def load_trained(name: str, folder: Path | None = None, dimensions: int | None = None) -> Trained:
    """Return a model's networks with their weights.

    Without weights of its own a model is replaced by its stand-in, or runs with new weights; ``warning`` says so.

    Args:
        name: of a model.
        folder: of weights to use in the place of the user's and the package's.
        dimensions: number of spatial axes the networks are for; None: as the weights are.

    Raises:
        ValueError: unknown name, no weights of this model in ``folder``, a damaged file, or a model that does not
            register such images.
    """
    network = network_of(name)
    option = {} if dimensions is None else dimension_option(network, dimensions)
    found = stored(name, folder, dimensions)
    if found is not None:
        return kept(f"networks of {name}", found.files, lambda: _loaded(name, found.files))
    if folder is not None:
        other = stored(name, folder)
        held = f"weights for {other.description.dimensions}D images" if other else "no such file"
        wanted = f"{name}.safetensors or {name}.stage1.safetensors"
        which = "" if dimensions is None else f" for {dimensions}D images"
        raise ValueError(f"weights: expected {wanted}{which}, found {held}")
    if name != network:
        raise ValueError(f"model {name!r} registers {find_model(name).dimensions[0]}D images, not {dimensions}D")
    other_name = stand_in(name) if dimensions in (None, 3) else None
    if other_name is None:
        which = f" for {dimensions}D images" if option else ""
        sentence = f"The model {name} has no trained weights{which} yet: it ran with new ones."
        return Trained(name, (build_model(name, option).eval(),), {}, sentence)
    trained = load_trained(other_name)
    sentence = f"The model {name} has no trained weights yet: {other_name}, {_STAND_INS[name][1]}, ran instead."
    return Trained(other_name, trained.networks, trained.files, sentence)


def is_trained(name: str, dimensions: int = 3, folder: Path | None = None) -> bool:
    """Whether there are weights of ``name``, or of its stand-in, for images of so many axes."""
    if dimensions not in find_model(name).dimensions:
        return False
    return stored(name, folder, dimensions) is not None or (folder is None and stand_in(name) is not None)


def load_file(path: Path) -> Trained:
    """Return the network of one model file, whatever the file's name.

    Raises:
        ValueError: it is damaged, or its network is unknown here.
        FileNotFoundError: there is no such file.
    """
    return _loaded(path.stem, (path,))


def _loaded(name: str, files: tuple[Path, ...]) -> Trained:
    networks = tuple(load_model(path) for path in files)
    held = [network.recipe.name for network in networks if network.recipe is not None]
    for path, network in zip(files, held, strict=True):
        if network != held[0]:
            raise ValueError(f"weights {path} hold the network {network}, but stage 1 holds {held[0]}")
    return Trained(name, networks, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
