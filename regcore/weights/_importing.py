"""A model file becomes a model of the user's own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from regcore.atomic import replacing
from regcore.models import list_models, load_model, model_info
from regcore.models._checkpoint import read_description
from regcore.models._registry import is_model_name
from regcore.weights._folders import VARIABLE, check_name, file_name, listing, split_name, user_folder

_NAMELESS = "model"  # what a training run calls its file


class Imported(NamedTuple):
    """What an import made.

    Attributes:
        name: of the model.
        paths: its new files in the user's folder.
    """

    name: str
    paths: tuple[Path, ...]


def import_model(file: Path, name: str | None = None, stage: int | None = None, replace: bool = False) -> Imported:
    """Check a model file and copy it into the user's folder.

    Args:
        file: written by `regcore.models.save_model`.
        name: of the model; without it the file's, or its network's where the file's is none.
        stage: of several networks that run in turn; without it as the file's name says.
        replace: take the place of a model, or stage, that has this name.

    Raises:
        ValueError: the file is damaged, its name is taken or cannot be, or it cannot be written.
    """
    network = _network(file)
    name, stage = name or _usual(file, network), stage if stage is not None else split_name(file.name)[1]
    folder, present = _places(name, network)
    _check_stage(name, stage, network, present)
    if not replace and (stage in present or (stage is None and present) or None in present):
        raise ValueError(f"name: {name} is in {folder} already; choose another with --name, or pass --replace")
    target = folder / file_name(name, stage)
    _copy({target: file})
    for number, path in present.items():
        if stage is None or number is None:
            _remove(path, target)
    return Imported(name, (target,))


def import_stages(files: Sequence[Path], name: str | None = None, replace: bool = False) -> Imported:
    """Check the files of a rigid model's stages, in their order, and copy them into the user's folder together.

    Args:
        files: one per stage; what their names say of stages does not count.
        name: of the model; without it as the first file says, see `import_model`.
        replace: take the place of the model that has this name, with all its stages.

    Raises:
        ValueError: a file is damaged, they hold different or deformable networks, the name is taken or cannot be, or
            they cannot be written.
    """
    networks = [_network(file) for file in files]
    for file, other in zip(files, networks, strict=True):
        if other != networks[0]:
            raise ValueError(f"file: stages are one network, but {file} holds {other}, the first file {networks[0]}")
    if model_info(networks[0]).kind != "rigid":
        raise ValueError(f"file: {networks[0]} is deformable and runs one network; join several with --stages")
    name = name or _usual(files[0], networks[0])
    folder, present = _places(name, networks[0])
    if present and not replace:
        raise ValueError(f"name: {name} is in {folder} already; choose another with --name, or pass --replace")
    targets = {folder / file_name(name, stage): file for stage, file in enumerate(files, start=1)}
    _copy(targets)
    for path in present.values():
        if path not in targets:
            _remove(path, folder / file_name(name, 1))
    return Imported(name, tuple(targets))


def _network(file: Path) -> str:
    """Return the name of the network in a whole file."""
    if not file.is_file():
        raise ValueError(f"file: there is no file {file}")
    recipe = load_model(file).recipe
    assert recipe is not None
    return recipe.name


def _usual(file: Path, network: str) -> str:
    stated, _ = split_name(file.name)
    return stated if is_model_name(stated) and stated != _NAMELESS else network


def _places(name: str, network: str) -> tuple[Path, dict[int | None, Path]]:
    """Return the user's folder, and what it holds of a model by stage."""
    _check_network(name, network)
    folder = user_folder()
    if folder is None:
        raise ValueError(f"{VARIABLE}: there is no home folder for models; set this variable to a folder")
    return folder, listing(folder).get(name, {})


def _check_network(name: str, network: str) -> None:
    check_name(name)
    if name in list_models() and name != network:
        raise ValueError(f"name: {name} is another network than {network}, which the file holds; choose another name")


def _check_stage(name: str, stage: int | None, network: str, present: dict[int | None, Path]) -> None:
    """Refuse a stage that could not run with the others."""
    if stage is None:
        return
    if stage < 1:
        raise ValueError(f"stage: expected 1 or more, got {stage}")
    if stage > 1 and model_info(network).kind != "rigid":
        raise ValueError(f"stage: {network} is deformable and runs one network; join several with --stages")
    if stage > 1 and stage - 1 not in present:
        raise ValueError(f"stage: {name} has no stage {stage - 1} yet; import that first")
    for number, path in present.items():
        if number not in (None, stage) and (other := read_description(path).recipe.name) != network:
            raise ValueError(
                f"stage: stage {number} of {name} is {other}, the file holds {network}; choose another name"
            )


def _copy(sources: Mapping[Path, Path]) -> None:
    """Copy files of one folder, by their new paths; none takes its place before all are copied."""
    folder = next(iter(sources)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be made: {error.strerror or error}") from error
    with ExitStack() as stack:
        for target, file in sources.items():
            shutil.copyfile(file, stack.enter_context(replacing(target)))


def _remove(path: Path, target: Path) -> None:
    try:
        if path != target:
            path.unlink()
    except OSError as error:
        raise ValueError(f"{path} stands in the way of {target.name}; remove it: {error.strerror or error}") from error
