"""What a client of the worker does, for benchmarks: arrays into a folder, and the message that names them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def register_message(
    identifier: str,
    folder: Path,
    files: Mapping[str, Path],
    settings: Mapping[str, object],
    outputs: Mapping[str, bool] | None = None,
) -> bytes:
    """Write images into ``folder`` and return the line that asks to register them.

    Args:
        identifier: of the registration.
        folder: for the arrays.
        files: image files by the name of their part in the message.
        settings: see `regcore.worker.choices`.
        outputs: see `regcore.worker.protocol.Outputs`.
    """
    volumes = {part: write_volume(folder, part, sitk.ReadImage(str(path))) for part, path in files.items()}
    message = {"type": "register", "id": identifier, "folder": str(folder), **volumes, "settings": dict(settings)}
    return json.dumps(message | {"outputs": dict(outputs or {})}).encode() + b"\n"


def write_volume(folder: Path, name: str, image: sitk.Image) -> dict[str, object]:
    """Write the array of an image; return the volume that a message names."""
    np.save(folder / f"{name}.npy", sitk.GetArrayViewFromImage(image))
    geometry = {"spacing": image.GetSpacing(), "origin": image.GetOrigin(), "direction": image.GetDirection()}
    return {"array": f"{name}.npy", **geometry}
