"""Where weights lie: the package's folder, and one for models of the user's own; and how their files are called.

A model's file is ``NAME.safetensors``, or one per stage: ``NAME.stage1.safetensors``, ``NAME.stage2.safetensors``.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Literal

from regcore.models._registry import is_model_name

Source = Literal["user", "package", "folder"]

VARIABLE = "REGCORE_MODELS"

_PACKAGE = Path(__file__).parent
_SUFFIX = ".safetensors"
_STAGE = re.compile(r"(.+)\.stage([1-9][0-9]*)")
# What models, stages and starts of a registration are called already.
_STAGES = ("auto", "none", "refine", "refinement", "outputs")
_STARTS = ("centre", "moments", "rigid", "affine", "organ", "labels", "landmarks")
RESERVED = frozenset({*_STAGES, *_STARTS})


def user_folder() -> Path | None:
    """Return the folder for models of the user's own: `VARIABLE`, else the platform's for data; None: no home."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        data = _folder_of("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        data = home / "Library" / "Application Support"
    else:
        data = _folder_of("XDG_DATA_HOME") or home / ".local" / "share"
    return data / "attention-registration" / "models"


def package_folder() -> Path:
    """Return the folder of the weights and cards that come with the package."""
    return _PACKAGE


def places(folder: Path | None) -> list[tuple[Source, Path]]:
    """Return where weights are looked for, in order: ``folder`` alone if there is one."""
    if folder is not None:
        return [("folder", folder)]
    own = user_folder()
    package: tuple[Source, Path] = ("package", _PACKAGE)
    return [package] if own is None else [("user", own), package]


def check_name(name: str) -> None:
    """Refuse names that no model may have.

    Raises:
        ValueError: in one sentence.
    """
    if not is_model_name(name):
        raise ValueError(f"name: expected lower case words joined by hyphens, as in my-model, got {name!r}")
    if name in RESERVED:
        raise ValueError(f"name: {name} means something else among the options of regcore; choose another")


def split_name(called: str) -> tuple[str, int | None]:
    """Return the model's name and the stage that a file's name states; None: it states none."""
    stem = called.removesuffix(_SUFFIX)
    staged = _STAGE.fullmatch(stem)
    return (staged[1], int(staged[2])) if staged else (stem, None)


def file_name(name: str, stage: int | None) -> str:
    """Return how the file of a model, or of its stage, is called."""
    return f"{name}{_SUFFIX}" if stage is None else f"{name}.stage{stage}{_SUFFIX}"


def listing(folder: Path) -> dict[str, dict[int | None, Path]]:
    """Return the model files in ``folder`` by name and stage; none where it is absent.

    Raises:
        ValueError: it cannot be read.
    """
    found: dict[str, dict[int | None, Path]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix == _SUFFIX and not path.name.startswith(".") and path.is_file():
                name, stage = split_name(path.name)
                found.setdefault(name, {})[stage] = path
    except FileNotFoundError:
        return {}
    except OSError as error:
        # Where nobody asked for a folder, one that is closed to this process is none.
        if folder == user_folder() and not os.environ.get(VARIABLE):
            return {}
        raise ValueError(f"the folder {folder} of models cannot be read: {error.strerror or error}") from error
    return found


def files_of(folder: Path, name: str) -> tuple[Path, ...]:
    """Return a model's files in ``folder``, one per stage in order, up to the first gap; none if it has none.

    Raises:
        ValueError: the folder cannot be read, or holds a single file and stages, or a stage but not the first.
    """
    found = listing(folder).get(name, {})
    if not found:
        return ()
    if None in found and len(found) > 1:
        raise ValueError(
            f"the folder {folder} has both {file_name(name, None)} and stages of it; remove one or the other"
        )
    if None in found:
        return (found[None],)
    files: list[Path] = []
    while len(files) + 1 in found:
        files.append(found[len(files) + 1])
    if not files:
        raise ValueError(f"the folder {folder} has no {file_name(name, 1)}, but a later stage of it")
    return tuple(files)


def _folder_of(variable: str) -> Path | None:
    path = Path(os.environ.get(variable, ""))
    return path if path.is_absolute() else None
