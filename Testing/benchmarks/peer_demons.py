"""SimpleITK's diffeomorphic demons as a whole process: three levels of 60 iterations from a given affine.

Settings are those of SimpleITK's own demons examples: histogram matching first, smoothing of one voxel.
"""

from __future__ import annotations

import sys
from pathlib import Path

import SimpleITK as sitk

ITERATIONS = 60
SHRINK_FACTORS = (4, 2, 1)


def register(fixed: sitk.Image, moving: sitk.Image) -> sitk.Image:
    """Return the displacement (mm) from ``fixed`` to ``moving``, both on one grid."""
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(ITERATIONS)
    demons.SetStandardDeviations(1.0)
    displacement = None
    for factor in SHRINK_FACTORS:
        small_fixed, small_moving = (_shrunk(image, factor) for image in (fixed, moving))
        if displacement is None:
            displacement = demons.Execute(small_fixed, small_moving)
        else:
            displacement = demons.Execute(small_fixed, small_moving, sitk.Resample(displacement, small_fixed))
    return displacement


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    if factor == 1:
        return image
    smooth = sitk.SmoothingRecursiveGaussian(image, [factor / 2 * spacing for spacing in image.GetSpacing()])
    return sitk.Shrink(smooth, [factor] * image.GetDimension())


def _matched(moving: sitk.Image, fixed: sitk.Image) -> sitk.Image:
    matcher = sitk.HistogramMatchingImageFilter()
    matcher.SetNumberOfHistogramLevels(1024)
    matcher.SetNumberOfMatchPoints(7)
    matcher.ThresholdAtMeanIntensityOn()
    return matcher.Execute(moving, fixed)


def main(fixed_path: str, moving_path: str, affine_path: str, folder: str, threads: str) -> None:
    """Write ``warp.nii.gz`` (to be followed by the affine) and ``warped.nii.gz`` into ``folder``."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(int(threads))
    fixed, moving = (sitk.ReadImage(path, sitk.sitkFloat32) for path in (fixed_path, moving_path))
    affine = sitk.ReadTransform(affine_path)
    near = _matched(sitk.Resample(moving, fixed, affine), fixed)
    displacement = register(fixed, near)
    sitk.WriteImage(sitk.Cast(displacement, sitk.sitkVectorFloat32), str(Path(folder) / "warp.nii.gz"), True, 1)
    # The transform that was added last is applied first.
    total = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(displacement)])
    sitk.WriteImage(sitk.Resample(moving, fixed, total), str(Path(folder) / "warped.nii.gz"), True, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
