"""T2-weighted MRI of a prostate: bright peripheral zone, darker nodular transition zone, dark capsule and muscle."""

from __future__ import annotations

import torch
from torch import Tensor

from regcore.data.synthesis.intensities import stretched
from regcore.data.synthesis.noise import chance, smooth_noise, uniform
from regcore.data.synthesis.prostate_anatomy import Anatomy, Place, paint
from regcore.ops.smoothing import gaussian

_GREYS = {
    "fat": 0.55,
    "fossa": 0.75,
    "muscle": 0.15,
    "bone": 0.30,
    "wall": 0.30,
    "urine": 1.00,
    "gas": 0.02,
    "stool": 0.35,
    "vesicle": 0.75,
    "levator": 0.28,
    "sphincter": 0.40,
}
_GLAND_GREYS = {
    "capsule": 0.12,
    "stroma": 0.20,
    "lesion": 0.32,
    "dark nodule": 0.30,
    "transition": 0.42,
    "bright nodule": 0.58,
    "urethra": 0.60,
    "peripheral": 0.75,
}
_GLAND_MEAN = 0.42


def random_greys(random: torch.Generator) -> dict[str, float]:
    """Return a T2 grey for each tissue; tissues of the gland keep their order where it is more than 0.1 apart.

    Some scanners and patients show the zones well, others hardly: their contrast is drawn from 0.35 to 1.
    """
    contrast, light = uniform(0.35, 1.0, random), uniform(-0.1, 0.1, random)
    greys = {tissue: max(0.0, grey + uniform(-0.1, 0.1, random)) for tissue, grey in _GREYS.items()}
    for tissue, grey in _GLAND_GREYS.items():
        greys[tissue] = _GLAND_MEAN + light + contrast * (grey - _GLAND_MEAN + uniform(-0.05, 0.05, random))
    if chance(0.3, random):
        greys["urine"] = uniform(0.5, 1.0, random)
    return greys


def t2_image(anatomy: Anatomy, place: Place, spacing_mm: tuple[float, ...], random: torch.Generator) -> Tensor:
    """Return the MRI ``(1, 1, *shape)``, [0, 1].

    Args:
        anatomy: what is seen.
        place: of the voxels.
        spacing_mm: x, y, z.
        random: of the case.
    """
    size = place.gland.shape[1:]
    image = paint(anatomy, random_greys(random), place, rectum=True, edge_mm=0.4)[None]
    coarse, fine = smooth_noise(1, size, 8, random), smooth_noise(1, size, 20, random)
    # Fat and bowel are more uneven than the gland.
    uneven = 1 + 2 * torch.sigmoid(place.gland - 2)
    image = image * (uneven * (uniform(0.0, 0.15, random) * coarse + uniform(0.05, 0.2, random) * fine)).exp()
    blur_mm = uniform(0.6, 2.2, random)
    image = gaussian(image, [blur_mm / s for s in reversed(spacing_mm)])
    # The coil's sensitivity, then the magnitude of a signal with noise in both channels (Rician).
    image = image * (uniform(0.0, 0.4, random) * smooth_noise(1, size, 3, random)).exp()
    noise = uniform(0.0, 0.03, random) * torch.randn(2, 1, *size, generator=random, device=random.device)
    image = torch.hypot(image + noise[:1], noise[1:])
    return stretched(_unseen(image, random)).pow(uniform(0.8, 1.4, random))


def _unseen(image: Tensor, random: torch.Generator) -> Tensor:
    """Blank some slices at both ends, in two of five images: the scan was shorter than the volume."""
    if chance(0.4, random):
        count = image.shape[2]
        low, high = (int(uniform(0, 0.15, random) * count) for _ in range(2))
        image[:, :, :low] = 0
        image[:, :, count - high :] = 0
    return image
