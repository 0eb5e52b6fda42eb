"""Presets: JSON files that name the stages and the start that suit a kind of pair."""

from __future__ import annotations

import json
import sysconfig
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast, get_args

from regcore.settings import REFINE, Settings, Similarity
from regcore.start import START_KINDS, StartKind
from regcore.weights import is_trained

_SHARED = "share/attention-registration/presets"  # where an installed package keeps them


@dataclass(frozen=True)
class Preset:
    """What suits a kind of pair.

    Attributes:
        name: of the file.
        title: a few words for a menu.
        description: a sentence or two on what it does and for what.
        stages: models and ``refine``; models that nobody has trained yet are left out when it is used.
        init: steps of the initial transform; None: as suits the first model.
        similarity: what refinement compares.
        slicewise: slice by slice; None: as suits model and volume.
    """

    name: str
    title: str
    description: str
    stages: tuple[str, ...]
    init: tuple[StartKind, ...] | None = None
    similarity: Similarity = "auto"
    slicewise: bool | None = None


def list_presets() -> list[str]:
    """Return the names of the presets that come with the project."""
    return sorted(path.stem for path in _folder().glob("*.json"))


def load_preset(name: str) -> Preset:
    """Read a preset.

    Args:
        name: one of `list_presets`, or the path of a JSON file with the same keys.

    Raises:
        ValueError: there is no such preset, or its file is not one.
    """
    path = Path(name) if name.endswith(".json") else _folder() / f"{name}.json"
    if not name.endswith(".json") and name not in list_presets():
        raise ValueError(f"preset: expected one of {', '.join(list_presets())} or a JSON file, got {name}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"preset: cannot read {path.name}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"preset: {path.name} is not JSON: {error}") from error
    return _checked(path.stem, content)


def with_preset(settings: Settings, preset: Preset) -> tuple[Settings, list[str]]:
    """Fill in what ``settings`` leave at their defaults, and say which untrained models of the preset were left out.

    Raises:
        ValueError: the settings name a model or stages themselves.
    """
    if settings.model != "none" or settings.stages is not None:
        raise ValueError("preset: it names the stages itself; pass it or a model, not both")
    usual = Settings()
    dimensions = 2 if preset.slicewise else 3
    able = [name for name in preset.stages if name == REFINE or settings.weights or is_trained(name, dimensions)]
    if settings.refine == 0:
        able = [name for name in able if name != REFINE]
    chosen = replace(
        settings,
        stages=tuple(able) or None,
        init=settings.init or preset.init,
        similarity=preset.similarity if settings.similarity == usual.similarity else settings.similarity,
        slicewise=preset.slicewise if settings.slicewise is None else settings.slicewise,
    )
    missing = [name for name in preset.stages if name not in able and name != REFINE]
    said = [f"The preset {preset.name} leaves {name} out: it has no trained weights yet." for name in missing]
    return chosen, said


def _folder() -> Path:
    checkout = Path(__file__).resolve().parents[1] / "Resources" / "presets"
    return checkout if checkout.is_dir() else Path(sysconfig.get_path("data")) / _SHARED


def _checked(name: str, content: Any) -> Preset:
    known = {field.name for field in fields(Preset)} - {"name"}
    if not isinstance(content, dict) or not {"title", "description", "stages"} <= content.keys() <= known:
        raise ValueError(
            f"preset: {name} must have title, description and stages, and may have init, similarity and slicewise"
        )
    texts = {key: content[key] for key in ("title", "description")}
    lists = {key: content[key] for key in ("stages", "init") if content.get(key) is not None}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"preset: {name}: expected text as {key}, got {value!r}")
    for key, value in lists.items():
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise ValueError(f"preset: {name}: expected a list of names as {key}, got {value!r}")
    unknown = [kind for kind in lists.get("init", ()) if kind not in START_KINDS]
    if unknown:
        raise ValueError(f"preset: {name}: expected {', '.join(START_KINDS)} as init, got {', '.join(unknown)}")
    similarity, slicewise = content.get("similarity", "auto"), content.get("slicewise")
    if similarity not in get_args(Similarity):
        raise ValueError(
            f"preset: {name}: expected {', '.join(get_args(Similarity))} as similarity, got {similarity!r}"
        )
    if slicewise is not None and not isinstance(slicewise, bool):
        raise ValueError(f"preset: {name}: expected true or false as slicewise, got {slicewise!r}")
    init = cast("tuple[StartKind, ...] | None", tuple(lists["init"]) if "init" in lists else None)
    return Preset(name, **texts, stages=tuple(lists["stages"]), init=init, similarity=similarity, slicewise=slicewise)
