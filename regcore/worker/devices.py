"""What the worker can offer: devices, models, presets; its first message."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from regcore import __version__
from regcore.models import model_info
from regcore.presets import list_presets, load_preset
from regcore.weights import all_models, card, find_model, is_trained, network_of, stand_in, stored
from regcore.worker.protocol import Hello
from regcore.worker.titles import title_of


def hello() -> Hello:
    """Return the first message: versions, devices, models and presets."""
    gpus, note = _gpus()
    cpu = {"name": "cpu", "title": f"{_processor()}, {torch.get_num_threads()} threads"}
    return Hello(__version__, torch.__version__, [cpu, *gpus], note, _models(), _presets())


def _gpus() -> tuple[list[dict[str, object]], str]:
    """Return the GPUs that can be used, and a sentence that says why there are none, or not all."""
    if torch.version.cuda is None:
        return [], "This PyTorch was built without CUDA: install one with CUDA to use an NVIDIA GPU."
    if not torch.cuda.is_available():
        return [], "PyTorch finds no NVIDIA GPU: there is none, or its driver is missing or too old."
    usable: list[dict[str, object]] = []
    note = ""
    for number in range(torch.cuda.device_count()):
        known = torch.cuda.get_device_properties(number)
        if _supported(known.major, known.minor):
            usable.append({"name": f"cuda:{number}", "title": known.name, "memory_mb": int(known.total_memory) >> 20})
        else:
            note = f"This PyTorch was not built for the {known.name}: it is not used."
    return usable, note


def _supported(major: int, minor: int) -> bool:
    """Whether torch has code for a GPU: made for one of its generation, or to be compiled for newer ones."""
    made = [name.partition("_") for name in torch.cuda.get_arch_list()]
    versions = [(kind, int(digits[:-1]), int(digits[-1])) for kind, _, digits in made if digits.isdecimal()]
    for kind, its_major, its_minor in versions:
        if kind == "sm" and its_major == major and its_minor <= minor:
            return True
        if kind == "compute" and (its_major, its_minor) <= (major, minor):
            return True
    return False


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine() or "CPU"


def _models() -> list[dict[str, object]]:
    return [_model(name) for name in all_models()]


def _model(name: str) -> dict[str, object]:
    """Return what is known of a model; of one whose files cannot be used, why."""
    try:
        info, text, network = find_model(name), card(stand_in(name) or name), network_of(name)
        trained = any(is_trained(name, dimensions) for dimensions in info.dimensions)
    except ValueError as error:
        info, text, trained, network = model_info(name), f"It cannot be used: {error}", False, name
    return {
        "name": name,
        "title": title_of(info, network),
        "kind": info.kind,
        "dimensions": list(info.dimensions),
        "trained": trained,
        "card": text or (_learned(name, info.paper) if trained else f"{info.paper}. Nobody has trained it here yet."),
    }


def _learned(name: str, paper: str) -> str:
    """Return what a model without a card says of its training."""
    own = stored(stand_in(name) or name)
    assert own is not None
    said = own.description.provenance
    parts = [f"{paper}.", "Trained here or by whoever gave you the file."]
    if about := said.training.get("about"):
        parts.append(f"About the run: {about}.")
    if said.spacing_mm is not None:
        parts.append(f"For voxels of {said.spacing_mm:g} mm.")
    if said.metrics:
        figures = (f"{key} {value:.3g}" for key, value in said.metrics.items() if isinstance(value, int | float))
        parts.append(f"Held-out pairs: {', '.join(figures)}.")
    return " ".join(parts)


def _presets() -> list[dict[str, object]]:
    found = [load_preset(name) for name in list_presets()]
    return [{"name": one.name, "title": one.title, "description": one.description} for one in found]
