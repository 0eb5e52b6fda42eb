"""The registered networks, by public name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from regcore.models.base import Network, Recipe

Kind = Literal["rigid", "deformable"]

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a network without making it.

    Attributes:
        name: public name, lower case with hyphens.
        kind: what the network finds.
        dimensions: numbers of spatial axes it can be made for; of several, its option ``dimensions`` chooses one.
        paper: authors, title, where, year.
        default_spacing_mm: voxel size it is meant for; images are resampled to it.
        size_multiple: sides are padded to a multiple of this inside the network.
        licence: of the code, as SPDX identifier.
    """

    name: str
    kind: Kind
    dimensions: tuple[int, ...]
    paper: str
    default_spacing_mm: float
    size_multiple: int
    licence: str = "Apache-2.0"


@dataclass(frozen=True)
class _Entry:
    info: ModelInfo
    build: Callable[..., Network]


_ENTRIES: dict[str, _Entry] = {}

_Build = TypeVar("_Build", bound=Callable[..., Network])


def register_model(info: ModelInfo) -> Callable[[_Build], _Build]:
    """Register the decorated function under ``info.name``; its keyword arguments are the network's options.

    Raises:
        ValueError: the name is taken or is not lower case words joined by hyphens.
    """

    def register(build: _Build) -> _Build:
        if not is_model_name(info.name):
            raise ValueError(f"model name must be lower case words joined by hyphens, got {info.name!r}")
        if info.name in _ENTRIES:
            raise ValueError(f"model name {info.name!r} is registered already; choose another")
        _ENTRIES[info.name] = _Entry(info, build)
        return build

    return register


def is_model_name(text: str) -> bool:
    """Whether ``text`` may be the name of a model: lower case words joined by hyphens."""
    return _NAME.fullmatch(text) is not None


def list_models(kind: Kind | None = None, dimensions: int | None = None) -> list[str]:
    """Return the names of the registered networks in alphabetical order.

    Args:
        kind: only networks of this kind.
        dimensions: only networks that can be made for this number of spatial axes.
    """
    infos = (entry.info for entry in _ENTRIES.values())
    return sorted(
        info.name
        for info in infos
        if (kind is None or info.kind == kind) and (dimensions is None or dimensions in info.dimensions)
    )


def model_info(name: str) -> ModelInfo:
    """Return what is known of the network ``name``.

    Raises:
        ValueError: no network has this name.
    """
    return _entry(name).info


def dimension_option(name: str, dimensions: int) -> dict[str, object]:
    """Return the option that makes the network ``name`` for images of so many axes; empty: it has no choice.

    Raises:
        ValueError: no network has this name, or it does not register such images.
    """
    able = model_info(name).dimensions
    if dimensions not in able:
        raise ValueError(f"model {name!r} registers {' or '.join(f'{d}D' for d in able)} images, not {dimensions}D")
    return {"dimensions": dimensions} if len(able) > 1 else {}


def build_model(name: str, options: dict[str, object]) -> Network:
    """Make the network ``name`` with new weights and note in it how it was made.

    Raises:
        ValueError: no network has this name, or it does not know an option.
    """
    build = _entry(name).build
    valid = list(inspect.signature(build).parameters)
    unknown = [option for option in options if option not in valid]
    if unknown:
        raise ValueError(f"model {name!r} has no option {', '.join(unknown)}; it has {', '.join(valid) or 'none'}")
    model = build(**options)
    model.recipe = Recipe(name, dict(options))
    return model


def _entry(name: str) -> _Entry:
    if name in _ENTRIES:
        return _ENTRIES[name]
    if "/" in name or "\\" in name or name.endswith((".safetensors", ".pt", ".pth", ".ckpt")):
        raise ValueError(
            f"name must be the name of a model, {name!r} looks like a path; "
            "load_model(path) reads a saved model, create_model(name, weights=path) fills a new one"
        )
    raise ValueError(f"no model is called {name!r}; there are {', '.join(list_models())}")
