"""What the panel's menus offer: from the worker once it has spoken, from the presets' files before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

NODE = "node"


@dataclass(frozen=True)
class Preset:
    """What suits a kind of pair, as its file says.

    Attributes:
        name: of the file.
        title: a few words.
        description: a sentence or two.
        stages: models and ``refine``.
        init: steps of the initial transform; None: as suits the model.
        similarity: what refinement compares; None: by the contrast.
        slicewise: slice by slice; None: as suits the volume.
    """

    name: str
    title: str
    description: str
    stages: tuple[str, ...] = ()
    init: tuple[str, ...] | None = None
    similarity: str | None = None
    slicewise: bool | None = None


def read_presets(folder: Path) -> list[Preset]:
    """Read the presets of a folder without regcore; `any-pair` comes last."""
    read = [_preset(path) for path in sorted(folder.glob("*.json"))]
    return sorted(read, key=lambda preset: (preset.name == "any-pair", preset.title))


def preset_folder(module_file: str) -> Path:
    """Return the folder of the presets: beside the module where it is installed, above it in a checkout."""
    here = Path(module_file).resolve().parent
    return next((base for base in (here, here.parent) if (base / "regcore").is_dir()), here) / "Resources" / "presets"


def _preset(path: Path) -> Preset:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    init = content.get("init")
    return Preset(
        path.stem,
        _(content["title"]),
        _(content["description"]),
        tuple(content["stages"]),
        None if init is None else tuple(init),
        content.get("similarity"),
        content.get("slicewise"),
    )


def initial_choices() -> list[tuple[str, str]]:
    """Values and titles of the initial transform."""
    return [
        ("", _("As the preset says")),
        ("none", _("None: as the volumes lie")),
        ("centre", _("Centres together")),
        ("centre,affine", _("Centres together, then affine")),
        ("moments", _("Centres of mass together")),
        ("rigid", _("Rigid registration")),
        ("affine", _("Affine registration")),
        ("landmarks", _("Points")),
        ("labels", _("Outlines of the segments")),
        (NODE, _("A transform of the scene")),
    ]


def similarity_choices() -> list[tuple[str, str]]:
    """Values and titles of what refinement compares."""
    return [
        ("", _("As the preset says")),
        ("lncc", _("Local correlation: the same contrast")),
        ("mind", _("Structure (MIND): other contrast")),
        ("mi", _("Mutual information: rigid models")),
    ]


def registers(model: dict[str, Any], axes: int) -> bool:
    """Whether a model registers pairs of so many axes; one for pictures does volumes too, slice by slice."""
    return not {axes, 2}.isdisjoint(model["dimensions"])


def model_choices(models: Iterable[dict[str, Any]], axes: int = 3) -> list[tuple[str, str]]:
    """Values and titles of a worker's models that register pairs of so many axes, the trained ones first."""
    able = sorted((model for model in models if registers(model, axes)), key=lambda model: not model["trained"])
    named = [(model["name"], _titled(model)) for model in able]
    return [("", _("As the preset says")), ("none", _("None: refinement alone")), *named]


def _titled(model: dict[str, Any]) -> str:
    return str(model["title"]) if model["trained"] else _("{title} (not trained)").format(title=model["title"])


def device_choices(devices: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """Values and titles of the devices a worker has named."""
    named = [(device["name"], device["title"]) for device in devices] or [("cpu", _("CPU"))]
    return [("auto", _("The fastest there is")), *named]


def fill(box: Any, choices: list[tuple[str, str]], value: str) -> None:
    """Put the choices into a menu and choose ``value``, which is added if it is not among them."""
    known = choices if any(value == name for name, _title in choices) else [*choices, (value, value)]
    blocked = box.blockSignals(True)
    box.clear()
    for name, title in known:
        box.addItem(title, name)
    box.setCurrentIndex([name for name, _title in known].index(value))
    box.blockSignals(blocked)


def select(box: Any, value: str) -> None:
    """Choose ``value`` in a menu; it is added if it is not there."""
    if box.findData(value) < 0:
        box.addItem(value, value)
    blocked = box.blockSignals(True)
    box.setCurrentIndex(box.findData(value))
    box.blockSignals(blocked)


def on_choice(box: Any, take: Callable[[str], None]) -> None:
    """Call ``take`` with the value of each item that is chosen."""
    box.connect("currentIndexChanged(int)", lambda index: take(str(box.itemData(index))) if index >= 0 else None)
