"""Another contrast of an image: its intensities turned over inside the brain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

Row = Mapping[str, float]


def inverted(values: NDArray) -> NDArray:
    """Return the largest value less each value above 0, no less than the least of them; the background stays.

    Args:
        values: ``(*shape)``, of a skull-stripped image whose background is 0.

    Raises:
        ValueError: no value is above 0.
    """
    inside = values > 0
    if not inside.any():
        raise ValueError("moving: expected a brain with intensities above 0, found none")
    return np.where(inside, np.maximum(values.max() - values, values[inside].min()), values)


def write_inverted(image: Path, path: Path) -> Path:
    """Write the image in the other contrast to ``path``, and return that."""
    plain = sitk.ReadImage(str(image))
    turned = sitk.GetImageFromArray(inverted(sitk.GetArrayFromImage(plain)))
    turned.CopyInformation(plain)
    sitk.WriteImage(turned, str(path), True)
    return path


def falls(plain: Mapping[str, Row], turned: Mapping[str, Row]) -> dict[str, dict[str, float]]:
    """Return, for each method of both runs, Dice in either contrast and by how much it falls."""
    return {
        name: {
            "dice": plain[name]["dice"],
            "inverted_dice": row["dice"],
            "fall": plain[name]["dice"] - row["dice"],
            "inverted_folding_percent": row["folding_percent"],
        }
        for name, row in turned.items()
        if name in plain
    }
