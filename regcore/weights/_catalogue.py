"""What there is under which name: registered networks, and models of the user's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from regcore.models import ModelInfo, list_models, model_info
from regcore.models._checkpoint import Description, read_description
from regcore.models._registry import Kind, is_model_name
from regcore.weights._folders import Source, files_of, listing, places, user_folder
from regcore.weights._kept import kept


@dataclass(frozen=True)
class Stored:
    """The weights of a model as they lie in a folder.

    Attributes:
        files: one per stage, in order.
        description: what the first of them says of its network.
        source: whose folder it is: the user's, the package's, or another one.
    """

    files: tuple[Path, ...]
    description: Description
    source: Source


def stored(name: str, folder: Path | None = None, dimensions: int | None = None) -> Stored | None:
    """Return the weights that run as model ``name``; None: there are none.

    Args:
        name: of a model.
        folder: where to look; without it the user's folder, then the package's.
        dimensions: only weights for images of so many axes; None: any.

    Raises:
        ValueError: no model has this name, or a file that is damaged or holds another network.
    """
    network = network_of(name)
    for source, place in places(folder):
        files = files_of(place, name)
        if not files:
            continue
        said = _description(files[0])
        if said.recipe.name != network:
            raise ValueError(f"weights {files[0]} hold the network {said.recipe.name}, not {network}; rename the file")
        if dimensions in (None, said.dimensions):
            return Stored(files, said, source)
    return None


def network_of(name: str) -> str:
    """Return the registered network that runs as model ``name``.

    Raises:
        ValueError: no model has this name, or its file is damaged.
    """
    if name in list_models() or not is_model_name(name):
        return model_info(name).name
    files = next((files for _, place in places(None) if (files := files_of(place, name))), ())
    if not files:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(all_models())}")
    network = _description(files[0]).recipe.name
    if network not in list_models():
        raise ValueError(
            f"weights {files[0]} hold the network {network!r}, unknown here; update attention-registration"
        )
    return network


def find_model(name: str, folder: Path | None = None, dimensions: int | None = None) -> ModelInfo:
    """Return what is known of a model, registered, shipped or the user's; the voxel size is that of its training.

    Args:
        name: of a model.
        folder: as in `stored`.
        dimensions: of the images, where that decides which weights run.

    Raises:
        ValueError: as `stored`.
    """
    info = model_info(network_of(name))
    if info.name != name:
        own = stored(name)
        assert own is not None
        info = replace(info, name=name, dimensions=(own.description.dimensions,))
    found = stored(name, folder, dimensions)
    spacing = found.description.provenance.spacing_mm if found is not None else None
    return info if spacing is None else replace(info, default_spacing_mm=spacing)


def all_models(kind: Kind | None = None, dimensions: int | None = None) -> list[str]:
    """Return the names of registered networks, and of the package's and the user's models that can be read, sorted.

    Args:
        kind: only models of this kind.
        dimensions: only models for images of so many axes.
    """
    found = list_models(kind, dimensions)
    for name in stored_models():
        if name in list_models() or not is_model_name(name):
            continue
        try:
            info = find_model(name)
        except ValueError:
            continue
        if kind in (None, info.kind) and (dimensions is None or dimensions in info.dimensions):
            found.append(name)
    return sorted(found)


def stored_models() -> list[str]:
    """Return the names that files of the package and in the user's folder have, usable or not."""
    return sorted({name for _, place in places(None) for name in listing(place)})


def user_models() -> list[str]:
    """Return the names that files in the user's folder have, usable or not."""
    own = user_folder()
    return sorted(listing(own)) if own is not None else []


def _description(path: Path) -> Description:
    return kept("description", (path,), lambda: read_description(path))
