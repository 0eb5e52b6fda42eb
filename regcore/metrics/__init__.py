"""How good a registration is: overlap, surface distance and error, likeness, regularity, topology, landmark error."""

from regcore.metrics.folding import Folding, folding, forward_jacobian_determinant
from regcore.metrics.landmarks import tre
from regcore.metrics.names import COLUMNS, Column
from regcore.metrics.overlap import dsc
from regcore.metrics.quality import ssim, uiqi
from regcore.metrics.registration_error import sre, surface_points
from regcore.metrics.regularity import folding_percent, sdlogj
from regcore.metrics.similarity import ncc, nmi
from regcore.metrics.surface import SurfaceDistances, surface_distances
from regcore.metrics.topology import TopologyChange, count_components, euler_number, topology_change

__all__ = [
    "COLUMNS",
    "Column",
    "Folding",
    "SurfaceDistances",
    "TopologyChange",
    "count_components",
    "dsc",
    "euler_number",
    "folding",
    "folding_percent",
    "forward_jacobian_determinant",
    "ncc",
    "nmi",
    "sdlogj",
    "sre",
    "ssim",
    "surface_distances",
    "surface_points",
    "topology_change",
    "tre",
    "uiqi",
]
