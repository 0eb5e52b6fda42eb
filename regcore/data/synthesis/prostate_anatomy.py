"""What lies in and about a prostate: smooth parts, painted one over the other in the values of any modality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from regcore.data.synthesis.noise import chance, choice, uniform
from regcore.data.synthesis.prostate_shape import Gland

Triple = tuple[float, float, float]


class Blob(NamedTuple):
    """An ellipsoid of some tissue, upright (mm)."""

    tissue: str
    middle: Triple
    radii: Triple


class Place(NamedTuple):
    """Where voxels lie in a patient.

    Attributes:
        points: ``(3, *shape)``, x, y, z in the frame of the gland (mm).
        gland: its level there, ``(1, *shape)``.
    """

    points: Tensor
    gland: Tensor


@dataclass(frozen=True)
class Anatomy:
    """A gland, what is in it and what surrounds it; frame as that of `Gland`.

    Attributes:
        gland: see there.
        around: outside the gland, from back to front.
        zone: the transition zone, cut where it would leave the gland.
        within: inside the gland, from back to front.
        rectum: left out where a probe fills it.
        pitch: ``(3, 3)``, radians per mm, of the waves that bend the neighbours.
        push: ``(3, 3)``, mm, of the same.
        rim_mm: least depth of the transition zone below the gland's surface.
    """

    gland: Gland
    around: tuple[Blob, ...]
    zone: Blob
    within: tuple[Blob, ...]
    rectum: tuple[Blob, ...]
    pitch: Tensor
    push: Tensor
    rim_mm: float

    def parts(self, place: Place, *, rectum: bool) -> Iterator[tuple[str, Tensor]]:
        """Yield tissues and their levels ``(1, *shape)``, in the order of painting."""
        points, gland = place
        # A sling: below and at the sides.
        gap = 0.25 * (points[2:3] + 2).clamp_min(0) + 0.25 * (-points[1:2]).clamp_min(0)
        yield "levator", (gland - 5).abs() - 1.8 + gap
        waves = torch.sin(self.pitch @ points.flatten(1))
        bent = points + (self.push @ waves).view(points.shape)
        around = (*self.around, *(self.rectum if rectum else ()))
        yield from zip((blob.tissue for blob in around), levels(around, bent), strict=True)
        yield "capsule", gland - 0.8
        yield "peripheral", gland + 0.6
        zone, *within = levels((self.zone, *self.within), points)
        yield "transition", torch.maximum(zone, gland + self.rim_mm)
        for blob, level in zip(self.within, within, strict=True):
            yield blob.tissue, torch.maximum(level, gland + 0.6)


def levels(blobs: Sequence[Blob], points: Tensor) -> list[Tensor]:
    """Return about the signed distance from the surface of each ellipsoid, each ``(1, *shape)``, at ``(3, *shape)``."""
    middle, radii = (torch.tensor([blob[part] for blob in blobs], device=points.device) for part in (1, 2))
    weight = radii.square().reciprocal()
    flat = points.flatten(1)
    # sum ((p - m) / r)^2 of all ellipsoids in one product.
    terms = torch.cat([weight, -2 * weight * middle], dim=1) @ torch.cat([flat.square(), flat])
    reach = terms.add_((weight * middle.square()).sum(dim=1, keepdim=True)).clamp_(min=0).sqrt_()
    reach.sub_(1).mul_(radii.amin(dim=1, keepdim=True))
    return [row.view(1, *points.shape[1:]) for row in reach]


def paint(anatomy: Anatomy, values: Mapping[str, float], place: Place, *, rectum: bool, edge_mm: float) -> Tensor:
    """Return the value of the tissue at each voxel, ``(1, *shape)``, with soft borders.

    Args:
        anatomy: see `Anatomy`.
        values: of each tissue; ``fat`` is what is left.
        place: of the voxels.
        rectum: whether it is there.
        edge_mm: width of the borders.
    """
    image = torch.full_like(place.gland, values["fat"])
    for tissue, level in anatomy.parts(place, rectum=rectum):
        image.lerp_(image.new_tensor(values[tissue]), torch.sigmoid(level.div(-edge_mm)))
    return image


def random_anatomy(gland: Gland, random: torch.Generator) -> Anatomy:
    """Return a gland with zones, nodules and neighbours drawn at random."""
    x, y, z = gland.half_mm
    large = uniform(0.5, 0.8, random)  # the transition zone grows with age
    zone = Blob(
        "transition",
        (uniform(-1, 1, random), -y * uniform(0.15, 0.3, random), z * uniform(0.0, 0.25, random)),
        (x * large * uniform(0.9, 1.1, random), y * large * uniform(0.9, 1.1, random), z * large),
    )
    normal = torch.randn(2, 3, 3, generator=random, device=random.device)
    return Anatomy(
        gland,
        _around(gland, random),
        zone,
        _within(gland, zone, random),
        _rectum(gland, random),
        0.15 * normal[0],
        1.5 * normal[1],
        uniform(2, 4, random),
    )


def _around(gland: Gland, random: torch.Generator) -> tuple[Blob, ...]:
    x, y, z = gland.half_mm
    gap, full = uniform(5, 10, random), uniform(0.3, 1.0, random)
    bladder = (uniform(-3, 3, random), -y * uniform(0.2, 0.6, random), z + 15 * full - 1)
    radii = (uniform(15, 26, random), uniform(11, 19, random), 15 * full)
    wall = uniform(1.5, 3.5, random)
    pubis = -y - uniform(10, 18, random)
    parts = [
        Blob("bone", (0.0, pubis - 8, uniform(-14, -2, random)), (uniform(14, 22, random), 10, 16)),
        Blob("stroma", (0.0, -y - 2, 0.3 * z), (0.6 * x, uniform(2, 5, random), 0.8 * z)),
    ]
    for side in (1.0, -1.0):
        lean = uniform(0, 6, random)
        parts += [
            Blob(
                "fossa", (side * (x + gap - 1), y + 9, -z - uniform(-4, 6, random)), (11, 16, uniform(14, 24, random))
            ),
            Blob("muscle", (side * (x + gap + 9), -6 - lean, uniform(-8, 4, random)), (9, uniform(18, 28, random), 32)),
            Blob("muscle", (side * (x + gap + 1), -y - lean - 4, -z), (7, uniform(7, 12, random), 18)),
        ]
        vesicle = (side * uniform(8, 13, random), y * 0.6 + 3, z + uniform(2, 6, random))
        parts.append(Blob("vesicle", vesicle, (uniform(7, 12, random), uniform(3, 5, random), uniform(3, 6, random))))
    parts.append(Blob("wall", bladder, (radii[0] + wall, radii[1] + wall, radii[2] + wall)))
    parts.append(Blob("urine", bladder, radii))
    parts.append(Blob("sphincter", (0.0, -1.0, -z - 9), (6.0, 6.0, 12.0)))
    return tuple(parts)


def _rectum(gland: Gland, random: torch.Generator) -> tuple[Blob, ...]:
    _, y, z = gland.half_mm
    radius = uniform(6, 13, random)
    wall = uniform(2, 3.5, random)
    middle = (uniform(-4, 4, random), y + radius + wall + uniform(0, 2, random), uniform(0.2, 1.2, random) * z + 10)
    radii = (radius * uniform(0.9, 1.3, random), radius, uniform(25, 45, random))
    canal = Blob("wall", (0.0, y + 7, -z - 12), (7.0, 8.0, 22.0))
    content = "gas" if chance(0.6, random) else "stool"
    return canal, Blob("wall", middle, (radii[0] + wall, radii[1] + wall, radii[2])), Blob(content, middle, radii)


def _within(gland: Gland, zone: Blob, random: torch.Generator) -> tuple[Blob, ...]:
    x, y, z = gland.half_mm
    parts = [Blob("stroma", (0.0, -y, 0.1 * z), (0.45 * x, uniform(0.15, 0.4, random) * y, 0.7 * z))]
    for _ in range(2 + choice(5, random)):
        way = torch.randn(3, generator=random, device=random.device)
        way = way / way.norm().clamp_min(1e-6) * uniform(0.3, 0.7, random)
        at = [m + r * float(w) for m, r, w in zip(zone.middle, zone.radii, way, strict=True)]
        size = uniform(0.15, 0.35, random) * min(zone.radii)
        tissue = "dark nodule" if chance(0.5, random) else "bright nodule"
        parts.append(Blob(tissue, (at[0], at[1], at[2]), (size * uniform(0.8, 1.3, random), size, size)))
    parts.append(Blob("urethra", (0.0, zone.middle[1] + 0.15 * y, 0.0), (1.8, 1.8, 1.2 * z)))
    if chance(0.4, random):
        side = x * uniform(0.3, 0.7, random) * (1 if chance(0.5, random) else -1)
        middle = (side, 0.6 * y, uniform(-0.5, 0.4, random) * z)
        parts.append(Blob("lesion", middle, (uniform(2, 5, random), uniform(2, 3.5, random), uniform(2, 5, random))))
    return tuple(parts)
