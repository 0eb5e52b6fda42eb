"""How good a registration is: overlap, surface distance and error, similarity, regularity, landmark error."""

from regcore.metrics.landmarks import tre
from regcore.metrics.overlap import dsc
from regcore.metrics.registration_error import sre, surface_points
from regcore.metrics.regularity import folding_percent, sdlogj
from regcore.metrics.similarity import ncc, nmi
from regcore.metrics.surface import SurfaceDistances, surface_distances

__all__ = [
    "SurfaceDistances",
    "dsc",
    "folding_percent",
    "ncc",
    "nmi",
    "sdlogj",
    "sre",
    "surface_distances",
    "surface_points",
    "tre",
]
