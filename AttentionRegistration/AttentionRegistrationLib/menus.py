"""The panel's menus of texts: preset, initial transform, model, similarity and device, bound to the parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

from slicer.i18n import tr as _

from AttentionRegistrationLib.choices import (
    NODE,
    Preset,
    device_choices,
    fill,
    initial_choices,
    model_choices,
    on_choice,
    registers,
    select,
    similarity_choices,
)
from AttentionRegistrationLib.parameters import Parameters

_BOXES = {
    "preset": "presetBox",
    "initial": "initialBox",
    "model": "modelBox",
    "similarity": "similarityBox",
    "device": "deviceBox",
}


class Menus:
    """Fills the menus and keeps them and the parameters the same.

    Args:
        ui: the panel's widgets.
        presets: what there is.
    """

    def __init__(self, ui: Any, presets: list[Preset]) -> None:
        self._ui = ui
        self._presets = {preset.name: preset for preset in presets}
        self._parameters: Parameters | None = None
        self._hello: Any = None
        self._offered = 3  # axes of the pairs that the menu's models register
        fill(ui.presetBox, [(preset.name, preset.title) for preset in presets], presets[0].name)
        fill(ui.initialBox, initial_choices(), "")
        fill(ui.modelBox, model_choices([]), "")
        fill(ui.similarityBox, similarity_choices(), "")
        fill(ui.deviceBox, device_choices([]), "auto")
        for name, box in _BOXES.items():
            on_choice(getattr(ui, box), partial(self._take, name))
        self.show()

    @property
    def preset(self) -> Preset:
        """The chosen preset; of another version's scene one that only has a name."""
        name = self._parameters.preset if self._parameters else next(iter(self._presets))
        return self._presets.get(name) or Preset(name, name, "")

    def bind(self, parameters: Parameters | None) -> None:
        """Show these parameters from now on."""
        self._parameters = parameters
        self.show()

    def hear(self, hello: Any) -> None:
        """Offer what the worker has."""
        self._hello = hello
        self._offer_models()
        fill(self._ui.deviceBox, device_choices(hello.devices), self._value("device"))
        self.show()

    def missing(self) -> str:
        """Return why the chosen model cannot be used, as a sentence; empty: it can."""
        model = self._models().get(self._value("model"))
        if model is None:
            return ""
        if not registers(model, self._axes()):
            return _("The model {title} registers volumes, not slices: choose another.").format(title=model["title"])
        if model["trained"]:
            return ""
        return _("Nobody has trained the model {title} yet: choose another.").format(title=model["title"])

    def show(self) -> None:
        """Bring the menus, and what depends on them, to the parameters' values."""
        ui = self._ui
        if self._axes() != self._offered:
            self._offer_models()
        for name, box in _BOXES.items():
            select(getattr(ui, box), self._value(name))
        by_node = self._value("initial") == NODE
        ui.transformLabel.setEnabled(by_node)
        ui.transformBox.setEnabled(by_node)
        ui.presetNote.setText(self.preset.description)
        ui.modelCard.setMarkdown(self._card())
        ui.deviceNote.setText(self._hello.device_note if self._hello else "")
        ui.iterationsBox.setEnabled(self._parameters is not None and self._parameters.refine)

    def _offer_models(self) -> None:
        self._offered = self._axes()
        models = self._hello.models if self._hello else []
        fill(self._ui.modelBox, model_choices(models, self._offered), self._value("model"))

    def _axes(self) -> int:
        """Return how many axes the chosen pair has: two single slices are registered within their plane."""
        chosen = (self._parameters.fixed, self._parameters.moving) if self._parameters else ()
        images = [node.GetImageData() for node in chosen if node is not None]
        flat = [image is not None and image.GetDimensions()[2] == 1 for image in images]
        return 2 if len(flat) == 2 and all(flat) else 3

    def _take(self, name: str, value: str) -> None:
        if self._parameters is not None:
            setattr(self._parameters, name, value)
        self.show()

    def _value(self, name: str) -> str:
        if self._parameters is not None:
            return str(getattr(self._parameters, name))
        return {"preset": self.preset.name, "device": "auto"}.get(name, "")

    def _models(self) -> dict[str, dict[str, Any]]:
        return {model["name"]: model for model in self._hello.models} if self._hello else {}

    def _card(self) -> str:
        chosen, known = self._value("model"), self._models()
        if chosen == "none":
            return _("No network: the initial transform, then refinement on the pair itself.")
        names = [chosen] if chosen else [name for name in self.preset.stages if name != "refine"]
        if not names:
            return _("This preset uses no network.")
        if not self._hello:
            return _("{names}: the engine shows the card once it runs.").format(names=", ".join(names))
        return "\n\n".join(_described(known[name]) for name in names if name in known)


def _described(model: dict[str, Any]) -> str:
    state = "" if model["trained"] else _(" Nobody has trained it yet: a preset leaves it out.")
    return f"**{model['title']}**{state}\n\n{model['card']}"
