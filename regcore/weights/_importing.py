"""A model file becomes a model of the user's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from regcore.atomic import replacing
from regcore.models import list_models, load_model, model_info
from regcore.models._checkpoint import read_description
from regcore.models._registry import is_model_name
from regcore.weights._folders import VARIABLE, check_name, file_name, listing, split_name, user_folder

_NAMELESS = "model"  # what a training run calls its file


class Imported(NamedTuple):
    """What `import_model` made.

    Attributes:
        name: of the model.
        path: its file in the user's folder.
    """

    name: str
    path: Path


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
    if not file.is_file():
        raise ValueError(f"file: there is no file {file}")
    recipe = load_model(file).recipe
    assert recipe is not None
    stated, stated_stage = split_name(file.name)
    usual = stated if is_model_name(stated) and stated != _NAMELESS else recipe.name
    name, stage = name or usual, stage if stage is not None else stated_stage
    _check_network(name, recipe.name)
    folder = user_folder()
    if folder is None:
        raise ValueError(f"{VARIABLE}: there is no home folder for models; set this variable to a folder")
    present = listing(folder).get(name, {})
    _check_stage(name, stage, recipe.name, present)
    if not replace and (stage in present or (stage is None and present) or None in present):
        raise ValueError(f"name: {name} is in {folder} already; choose another with --name, or pass --replace")
    target = folder / file_name(name, stage)
    _copy(file, target)
    for number, path in present.items():
        if stage is None or number is None:
            _remove(path, target)
    return Imported(name, target)


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


def _copy(file: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"the folder {target.parent} cannot be made: {error.strerror or error}") from error
    with replacing(target) as temporary:
        shutil.copyfile(file, temporary)


def _remove(path: Path, target: Path) -> None:
    try:
        if path != target:
            path.unlink()
    except OSError as error:
        raise ValueError(f"{path} stands in the way of {target.name}; remove it: {error.strerror or error}") from error
