"""greedy (Yushkevich et al.) as a whole process: NCC, from a given affine, otherwise as it comes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from picsl_greedy import Greedy3D
from ras import ras_matrix


def main(fixed: str, moving: str, affine: str, folder: str, threads: str) -> None:
    """Write ``warp.nii.gz`` (to be followed by the affine) and ``warped.nii.gz`` into ``folder``."""
    out = Path(folder)
    np.savetxt(out / "affine.mat", ras_matrix(sitk.ReadTransform(affine)), fmt="%.12f")
    # Double precision is its default; in single precision NCC jumps about from one iteration to the next.
    greedy = Greedy3D()
    greedy.execute(
        f"-i {fixed} {moving} -it {out}/affine.mat -m NCC 2x2x2 -n 100x50x20 -threads {threads} -o {out}/warp.nii.gz"
    )
    reslice = f"-rf {fixed} -rm {moving} {out}/warped.nii.gz -r {out}/warp.nii.gz {out}/affine.mat -threads {threads}"
    greedy.execute(reslice)


if __name__ == "__main__":
    main(*sys.argv[1:])
