"""The trained networks that come with the package: one safetensors file per stage, and a card for each model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from regcore.models import dimension_option, load_model, model_info
from regcore.models._registry import build_model
from regcore.models.base import Network

_FOLDER = Path(__file__).parent
# What runs in the place of a network that nobody has trained yet: the same one for smaller crops.
_STAND_INS = {"attention-reg": "attention-reg-small", "attention-reg-label": "attention-reg-label-small"}


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
    """Return the files of a model's stages in order, ``NAME.stage1.safetensors`` first; none if it has none.

    Args:
        name: of a model.
        folder: where to look; the package's own weights unless told.

    Raises:
        ValueError: no model has this name.
    """
    model_info(name)
    found: list[Path] = []
    while (path := (folder or _FOLDER) / f"{name}.stage{len(found) + 1}.safetensors").is_file():
        found.append(path)
    return tuple(found)


def stand_in(name: str) -> str | None:
    """Return the model that runs in the place of ``name`` while that has no weights."""
    other = _STAND_INS.get(name)
    return other if other and not weight_files(name) and weight_files(other) else None


def card(name: str) -> str | None:
    """Return the text of a model's card: data, steps, figures, limits; None if it has none."""
    path = _FOLDER / f"{name}.md"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def load_trained(name: str, folder: Path | None = None, dimensions: int = 3) -> Trained:
    """Return a model's networks with their weights.

    Without weights of its own a model is replaced by its stand-in, or runs with new weights; ``warning`` says so.

    Args:
        name: of a model.
        folder: of weights to use in the place of the package's.
        dimensions: number of spatial axes the networks are for.

    Raises:
        ValueError: unknown name, no weights of this model in ``folder``, a damaged file, or a model that does not
            register such images.
    """
    option = dimension_option(name, dimensions)
    files = weight_files(name, folder)
    networks = tuple(load_model(path) for path in files)
    if networks and getattr(networks[0], "dimensions", 3) == dimensions:
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        return Trained(name, networks, hashes)
    if folder is not None:
        found = f"weights for {networks[0].dimensions}D images" if networks else "no such file"
        raise ValueError(f"weights: expected {name}.stage1.safetensors for {dimensions}D images, found {found}")
    other = stand_in(name)
    if other is None:
        which = f" for {dimensions}D images" if option else ""
        sentence = f"The model {name} has no trained weights{which} yet: it ran with new ones."
        return Trained(name, (build_model(name, option).eval(),), {}, sentence)
    sentence = f"The model {name} has no trained weights yet: {other}, the same network for smaller crops, ran instead."
    trained = load_trained(other)
    return Trained(other, trained.networks, trained.files, sentence)


def is_trained(name: str, dimensions: int = 3) -> bool:
    """Whether the package has weights of ``name``, or of its stand-in, for images of so many axes."""
    if dimensions not in model_info(name).dimensions:
        return False
    return bool(load_trained(name, dimensions=dimensions).files)
