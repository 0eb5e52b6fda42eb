"""The affine that every method starts from: two image files to one ITK transform, and nothing else in the process."""

from __future__ import annotations

import sys
from pathlib import Path

from regcore.affine import initial_transform
from regcore.io import read_image, write_transform
from regcore.preprocess import Inputs


def main(fixed: str, moving: str, folder: str) -> None:
    """Write ``affine.h5`` into ``folder``."""
    inputs = Inputs(read_image(fixed, "fixed"), read_image(moving, "moving")).upright()
    affine = initial_transform(inputs.fixed, inputs.moving, "affine")
    write_transform(affine, Path(folder) / "affine.h5")


if __name__ == "__main__":
    main(*sys.argv[1:])
