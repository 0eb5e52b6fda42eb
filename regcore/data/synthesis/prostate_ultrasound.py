"""Transrectal ultrasound of a prostate: speckled echoes on a logarithmic scale, fading with depth, with shadows."""

from __future__ import annotations

import torch
from torch import Tensor

from regcore.data.synthesis.intensities import stretched
from regcore.data.synthesis.noise import chance, choice, smooth_noise, uniform
from regcore.data.synthesis.prostate_anatomy import Anatomy, Place, paint
from regcore.data.synthesis.prostate_beam import (
    Beam,
    Probe,
    beam,
    coupling_gain,
    edge_gain,
    speckle,
    speckle_gain,
    stone_gain,
)
from regcore.ops.smoothing import gaussian

_ECHOES_DB = {
    "fat": 3.0,
    "fossa": 2.0,
    "muscle": -10.0,
    "bone": 4.0,
    "wall": 3.0,
    "urine": -25.0,
    "vesicle": -14.0,
    "levator": -3.0,
    "sphincter": -6.0,
    "capsule": 8.0,
    "stroma": -12.0,
    "peripheral": 0.0,
    "urethra": -10.0,
    "lesion": -8.0,
}
_BLACK = 0.5 / 255  # what a screen of 8 bits rounds to nothing


def random_echoes(random: torch.Generator) -> dict[str, float]:
    """Return the echo (dB) of each tissue; the transition zone is darker than the peripheral one, or the contrary."""
    echoes = {tissue: echo + uniform(-3, 3, random) for tissue, echo in _ECHOES_DB.items()}
    zone = echoes["peripheral"] + uniform(-12, 4, random)
    dark, bright = uniform(2, 6, random), uniform(2, 5, random)
    return echoes | {"transition": zone, "dark nodule": zone - dark, "bright nodule": zone + bright}


def ultrasound_image(
    anatomy: Anatomy, probe: Probe, place: Place, points: Tensor, stones: Tensor, random: torch.Generator
) -> Tensor:
    """Return the ultrasound ``(1, 1, *shape)``, [0, 1]; 0 where the probe does not look.

    Args:
        anatomy: what is seen.
        probe: what looks.
        place: of the voxels in the patient.
        points: ``(3, *shape)``, of each voxel in the frame of the probe (mm).
        stones: ``(S, 3)``, calcifications in the frame of the probe.
        random: of the case.
    """
    at = beam(probe, points)
    echo = paint(anatomy, random_echoes(random), place, rectum=False, edge_mm=0.5)
    echo += uniform(0, 2.5, random) * smooth_noise(1, points.shape[1:], 8, random)[0]
    echo += speckle_gain(speckle(probe, points.shape[1], random, uniform(0.7, 1.2, random)), probe, at)
    echo += depth_gain(at, uniform(0.0, 0.4, random), uniform(12, 28, random), uniform(7, 16, random))
    for stone in stones:
        echo += stone_gain(at, stone, probe, uniform(0.7, 1.3, random), uniform(8, 20, random))
    if chance(0.6, random):
        echo += edge_gain(at, place.gland, uniform(2, 12, random))
    echo += coupling_gain(at, probe, random)
    echo += uniform(0, 3, random) * smooth_noise(1, points.shape[1:], 3, random)[0]
    image = compressed(echo, uniform(0.2, 0.5, random), uniform(38, 60, random)) * at.seen
    # Frames are put together and resampled to a volume.
    image = stretched(gaussian(image[None], uniform(0.4, 2.2, random)))
    return torch.where(image < _BLACK, 0.0, image)


def depth_gain(at: Beam, attenuation: float, near_db: float, near_mm: float) -> Tensor:
    """Return what depth does to echoes, ``(1, *shape)`` dB.

    Args:
        at: the voxels.
        attenuation: dB per mm, both ways, that the time gain does not make up for.
        near_db: how bright the rectum's wall is at the probe.
        near_mm: depth over which that fades.
    """
    gain: Tensor = near_db * (-(at.depth / near_mm).square()).exp() - attenuation * at.depth
    return gain


def compressed(echo_db: Tensor, middle: float, range_db: float) -> Tensor:
    """Return echoes on a screen, [0, 1]: 0 dB at ``middle``, and ``range_db`` from black to white."""
    return (middle + echo_db / range_db).clamp(0, 1)


def random_stones(anatomy: Anatomy, random: torch.Generator) -> Tensor:
    """Return none to four calcifications ``(S, 3)`` where they form: about the border of the transition zone (mm)."""
    ways = torch.randn(choice(5, random), 3, generator=random, device=random.device)
    ways = ways / ways.norm(dim=1, keepdim=True).clamp_min(1e-6)
    zone = anatomy.zone
    radii, middle = torch.tensor([zone.radii, zone.middle], device=random.device)
    found: Tensor = 0.9 * ways * radii + middle
    return found[anatomy.gland.at(found.T[:, :, None, None])[0, :, 0, 0] < -1]
