"""Images of any contrast from a label map: one random grey per label, then everything a scanner does to it.

Reference:
    Hoffmann et al., "SynthMorph: learning contrast-invariant registration without acquired images", IEEE TMI 41, 2022;
    Billot et al., "SynthSeg", Medical Image Analysis 86, 2023. Written anew from the descriptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.data.synthesis.noise import chance, choice, smooth_noise, uniform
from regcore.ops.smoothing import gaussian


@dataclass(frozen=True)
class IntensityOptions:
    """What images of label maps look like; each sample draws its own values up to these.

    Attributes:
        texture: deviation of the grey within a label, of 1.
        blur: Gaussian, voxels.
        bias: deviation of the logarithm of a smooth gain.
        noise: deviation, of 1.
        gamma: greatest deviation of the logarithm of the exponent.
        thick: most by which the voxels may be longer along one axis; 1: never.
        background: share of images whose label 0 is black.
        same_contrast: share of pairs whose two images share their greys.
    """

    texture: float = 0.1
    blur: float = 1.0
    bias: float = 0.3
    noise: float = 0.08
    gamma: float = 0.4
    thick: float = 3.0
    background: float = 0.7
    same_contrast: float = 0.5


Greys = tuple[Tensor, Tensor]


def random_greys(count: int, options: IntensityOptions, random: torch.Generator) -> Greys:
    """Return mean and deviation ``(count,)`` of the grey of labels 0 to ``count - 1``."""
    device = random.device
    mean = torch.rand(count, generator=random, device=device)
    deviation = options.texture * torch.rand(count, generator=random, device=device)
    if chance(options.background, random):
        mean[0] = deviation[0] = 0.0
    return mean, deviation


def known_greys(table: Sequence[Sequence[float]], count: int, random: torch.Generator) -> Greys:
    """Return greys near those of a known contrast.

    Args:
        table: rows of label, mean and deviation; labels that are not there are black.
        count: of labels.
        random: of the sample; means are moved by up to 0.05.
    """
    mean, deviation = torch.zeros(count, device=random.device), torch.zeros(count, device=random.device)
    for label, grey, spread in table:
        mean[int(label)] = grey + uniform(-0.05, 0.05, random) if grey else 0.0
        deviation[int(label)] = spread
    return mean, deviation


def image_of(labels: Tensor, greys: Greys, options: IntensityOptions, random: torch.Generator) -> Tensor:
    """Return an image ``(1, 1, *size)``, [0, 1], of a label map.

    Args:
        labels: ``(*size)``, int64, 0 to ``count - 1``.
        greys: of each label.
        options: see `IntensityOptions`.
        random: of the sample.
    """
    size = labels.shape
    mean, deviation = (values[labels] for values in greys)
    image = (mean + deviation * torch.randn(size, generator=random, device=random.device))[None, None]
    image = gaussian(image, uniform(0.3, max(0.3, options.blur), random))
    gain = smooth_noise(1, size, round(uniform(2, 5, random)), random)
    image = image * (uniform(0, options.bias, random) * gain).exp()
    if options.thick > 1 and chance(0.5, random):
        image = _thick(image, 2 + choice(len(size), random), uniform(1.0, options.thick, random))
    noise = torch.randn(image.shape, generator=random, device=random.device)
    image = (image + uniform(0, options.noise, random) * noise).clamp_min(0)
    return stretched(image).pow(torch.tensor(uniform(-options.gamma, options.gamma, random)).exp().to(image))


def stretched(image: Tensor) -> Tensor:
    """Scale an image to [0, 1] by its 99.8th percentile; black stays black."""
    flat = image.flatten()
    most = flat[:: max(1, flat.numel() // 65536)].quantile(0.998)
    return (image / most.clamp_min(1e-6)).clamp(0, 1)


def _thick(image: Tensor, axis: int, factor: float) -> Tensor:
    """Return the image as seen in voxels ``factor`` times as long along one axis."""
    size = list(image.shape[2:])
    few = list(size)
    few[axis - 2] = max(2, round(size[axis - 2] / factor))
    sigmas = [0.0] * len(size)
    sigmas[axis - 2] = 0.4 * factor
    mode = "bilinear" if len(size) == 2 else "trilinear"
    coarse = F.interpolate(gaussian(image, sigmas), size=few, mode=mode, align_corners=False)
    return F.interpolate(coarse, size=size, mode=mode, align_corners=False)
