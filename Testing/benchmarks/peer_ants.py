"""ANTs' SyN as a whole process: deformable stage only, with its default metric, from a given affine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import ants


def main(fixed: str, moving: str, affine: str, folder: str, threads: str) -> None:
    """Write ``warp.nii.gz`` (to be followed by the affine) and ``warped.nii.gz`` into ``folder``.

    The number of threads comes to ANTs through ITK's environment variable.
    """
    out = Path(folder)
    result = ants.registration(
        ants.image_read(fixed),
        ants.image_read(moving),
        type_of_transform="SyNOnly",
        initial_transform=[affine],
        outprefix=str(out / "syn-"),
    )
    (warp,) = [path for path in result["fwdtransforms"] if path.endswith("Warp.nii.gz")]
    shutil.copyfile(warp, out / "warp.nii.gz")
    ants.image_write(result["warpedmovout"], str(out / "warped.nii.gz"))


if __name__ == "__main__":
    main(*sys.argv[1:])
