"""What the ``settings`` of a request mean: `regcore.settings.Settings`, ``preset`` and ``gland_labels``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast, get_args

from regcore.presets import list_presets, load_preset, with_preset
from regcore.settings import Quality, Settings, Similarity
from regcore.start import START_KINDS, StartKind
from regcore.worker.protocol import Refused

_Check = Callable[[Any], bool]

_STARTS = (*START_KINDS, "landmarks")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


_KNOWN: Mapping[str, tuple[str, _Check]] = {
    "preset": (
        "one of the presets that the worker named",
        lambda value: isinstance(value, str) and value in list_presets(),
    ),
    "model": ("the name of a model", lambda value: isinstance(value, str)),
    "stages": ("a list of models and refine", _are_texts),
    "init": (
        f"a list of {', '.join(_STARTS)}, landmarks only as the first",
        lambda value: _are_texts(value) and set(value) <= {*_STARTS} and "landmarks" not in value[1:],
    ),
    "refine": ("0 or more iterations", lambda value: _is_whole(value) and 0 <= value <= 100_000),
    "similarity": (", ".join(get_args(Similarity)), lambda value: value in get_args(Similarity)),
    "quality": (", ".join(get_args(Quality)), lambda value: value in get_args(Quality)),
    "device": ("auto, cpu, cuda or cuda:N", lambda value: isinstance(value, str)),
    "inverse": ("true or false", lambda value: isinstance(value, bool)),
    "seed": ("a whole number from 0", lambda value: _is_whole(value) and 0 <= value < 1 << 63),
    "weights": ("a folder", lambda value: isinstance(value, str) and "\0" not in value),
    "passes": ("1 or more", lambda value: _is_whole(value) and 1 <= value <= 100),
    "ensemble": ("1 or more", lambda value: _is_whole(value) and 1 <= value <= 1000),
    "slicewise": ("true or false", lambda value: isinstance(value, bool)),
    "gland_labels": (
        "a list of labels",
        lambda value: isinstance(value, list) and bool(value) and all(_is_whole(v) and 0 < v < 1 << 31 for v in value),
    ),
}


class Choices:
    """What a request's settings say.

    Attributes:
        settings: with what a preset fills in.
        landmarks: whether the start comes from the landmarks.
        gland_labels: labels that make up the gland.
        notes: what a preset left out.

    Raises:
        Refused: an unknown setting, or one that is not what it must be.
        ValueError: settings that contradict each other.
    """

    def __init__(self, content: Mapping[str, Any], inverse: bool) -> None:
        given = {name: value for name, value in content.items() if value is not None}
        for name, value in given.items():
            if name not in _KNOWN:
                raise Refused(f"settings: there is no setting {name[:40]!r}.")
            wanted, holds = _KNOWN[name]
            if not holds(value):
                raise Refused(f"settings: expected {wanted} as {name}.")
        init = given.get("init", [])
        self.landmarks = init[:1] == ["landmarks"]
        steps = cast("tuple[StartKind, ...]", tuple(init[1:] if self.landmarks else init))
        self.gland_labels: list[int] = given.get("gland_labels", [1])
        plain = {field.name: given[field.name] for field in fields(Settings) if field.name in given}
        plain |= {"init": steps or (("none",) if self.landmarks else None), "inverse": inverse}
        if "stages" in given:
            plain["stages"] = tuple(given["stages"])
        if "weights" in given:
            plain["weights"] = Path(given["weights"])
        self.settings, self.notes = Settings(**plain), list[str]()
        if "preset" in given:
            self.settings, self.notes = with_preset(self.settings, load_preset(given["preset"]))
