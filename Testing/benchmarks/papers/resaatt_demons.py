"""SimpleITK's diffeomorphic demons on 2D pairs, and the choice of its settings on phantoms to learn from.

`python Testing/benchmarks/papers/resaatt_demons.py` tries settings on three hearts that ReSAAtt is trained on and
prints the figures of each: `CHOSEN` are those with the highest SSIM.
"""

from __future__ import annotations

import itertools
import sys
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from resaatt_pairs import of_hearts
from resaatt_scores import scored
from torch import Tensor

_SHRINK_FACTORS = (4, 2, 1)


class Settings(NamedTuple):
    """Of the demons.

    Attributes:
        iterations: on each of the three levels.
        sigma: of the Gaussian that smooths the displacement after each iteration, pixels.
        match: give the moving image the fixed one's histogram first.
    """

    iterations: int
    sigma: float
    match: bool


CHOSEN = Settings(150, 0.7, False)


def demons(fixed: Tensor, moving: Tensor, settings: Settings = CHOSEN) -> Tensor:
    """Return the displacement ``(1, 2, H, W)`` in pixels, rows first.

    Args:
        fixed: ``(1, 1, H, W)``.
        moving: likewise.
        settings: see `Settings`.
    """
    here, there = (sitk.GetImageFromArray(image[0, 0].numpy()) for image in (fixed, moving))
    if settings.match:
        there = sitk.HistogramMatching(there, here, 1024, 7, True)
    filter_ = sitk.DiffeomorphicDemonsRegistrationFilter()
    filter_.SetNumberOfIterations(settings.iterations)
    filter_.SetStandardDeviations(settings.sigma)
    found = None
    for factor in _SHRINK_FACTORS:
        small = [_shrunk(image, factor) for image in (here, there)]
        found = filter_.Execute(*small, *([] if found is None else [sitk.Resample(found, small[0])]))
    columns_first = sitk.GetArrayFromImage(found)
    return torch.from_numpy(np.moveaxis(columns_first[..., ::-1], -1, 0).copy()).float()[None]


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    if factor == 1:
        return image
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, factor / 2), [factor] * 2)


def main() -> int:
    """Print the figures of some settings; return 0."""
    test = of_hearts(range(3))
    print("iterations  sigma  match    SSIM   UIQI   Dice  folding %")
    for chosen in itertools.starmap(Settings, itertools.product((50, 150), (0.7, 1.0, 1.5), (False, True))):
        found = scored(test, [demons(pair.fixed, pair.moving, chosen) for pair in test.pairs])
        means = {name: values.mean() for name, values in found.items()}
        figures = f"{means['ssim']:.3f}  {means['uiqi']:.3f}  {means['dice']:.3f}  {means['folding_percent']:.4f}"
        print(f"{chosen.iterations:10}  {chosen.sigma:5.1f}  {chosen.match!s:5}  {figures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
