"""What is refused before any work is done, each in one sentence."""

from __future__ import annotations

import torch

from regcore.image import check_finite
from regcore.models import list_models
from regcore.preprocess import Inputs
from regcore.settings import REFINE, Settings
from regcore.start import START_KINDS
from regcore.weights import all_models, find_model


class DeviceError(RuntimeError):
    """The device asked for is not there, or has too little memory."""


def choose_device(name: str) -> torch.device:
    """Return the device to run on; ``auto`` takes the GPU when there is one.

    Raises:
        ValueError: ``name`` is no device.
        DeviceError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:N, got {name}") from error
    if device.type != "cpu" and (device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(f"device: {name} is not available here; use auto or cpu")
    return device


def check_inputs(inputs: Inputs) -> None:
    """Refuse images that cannot be registered.

    Raises:
        ValueError: NaN, one value only, different dimensions, or an empty mask.
    """
    fixed, moving = inputs.fixed, inputs.moving
    if fixed.dim != moving.dim:
        raise ValueError(f"moving: expected a {fixed.dim}D image like the fixed one, got {moving.dim}D")
    check_finite(fixed, "fixed")
    check_finite(moving, "moving")
    regions = (
        ("fixed-mask", inputs.fixed_mask, fixed),
        ("moving-mask", inputs.moving_mask, moving),
        ("fixed-labels", inputs.fixed_gland, fixed),
        ("moving-labels", inputs.moving_gland, moving),
    )
    for name, mask, image in regions:
        if mask is None:
            continue
        if mask.dim != image.dim:
            raise ValueError(f"{name}: expected a {image.dim}D mask like the image, got {mask.dim}D")
        if not bool((mask.data > 0).any()):
            raise ValueError(f"{name}: the mask is empty; draw the region that counts, or leave it out")
        if not mask.grid.overlaps(image.grid):
            raise ValueError(f"{name}: the mask lies outside its image")


def check_overlap(inputs: Inputs) -> None:
    """Refuse volumes that share no space as they lie.

    Raises:
        ValueError: they do not overlap.
    """
    if not inputs.fixed.grid.overlaps(inputs.moving.grid):
        raise ValueError(
            "moving: the volumes do not overlap in space; make sure they belong together, then use "
            "--init centre,affine to bring them together first"
        )


def check_model(name: str, dim: int) -> None:
    """Refuse a model that is unknown or does not register images of ``dim`` dimensions.

    A model for 2D images registers volumes too, slice by slice.

    Raises:
        ValueError: naming the models that do.
    """
    if name != "none" and not {dim, 2} & set(find_model(name).dimensions):
        able = ", ".join(["none", *all_models(dimensions=dim)])
        raise ValueError(f"model: {name} does not register {dim}D images; choose from {able}")


def check_chain(settings: Settings, dim: int) -> None:
    """Refuse stages that cannot go on from one another, and what contradicts them.

    Raises:
        ValueError: in one sentence.
    """
    if settings.stages is not None:
        if not settings.stages:
            raise ValueError("stages: expected models and refine joined by commas, got none")
        if settings.model != "none":
            raise ValueError("stages: pass either a model or stages, not both")
        if settings.refine == 0 and REFINE in settings.stages:
            raise ValueError("refine: 0 iterations contradict the stage refine; leave one of them out")
    deformable: str | None = None
    for name in settings.chain:
        if name == REFINE:
            continue
        if name in START_KINDS and name not in list_models():
            raise ValueError(f"stages: {name} is a way to start; pass --init {name}, and models and refine as stages")
        check_model(name, dim)
        if find_model(name).kind == "deformable":
            deformable = name
        elif deformable is not None:
            raise ValueError(f"stages: {name} is rigid and must come before {deformable}, which is deformable")
    if settings.slicewise and dim != 3:
        raise ValueError("slicewise: the images are 2D already; leave it out")
