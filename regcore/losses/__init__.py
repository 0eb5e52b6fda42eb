"""What training minimises: likeness of images, overlap of labels, regularity and consistency of fields.

Every loss is a function of tensors, ``warped`` before ``fixed``, to be minimised, 0 at best, a mean that does not
depend on the image's size; and a module of the same options. All compute in float32 (float64 for float64) whatever
autocast says, in 2D and 3D, with images ``(N, C, *size)`` and displacements ``(N, D, *size)`` in voxels, in order of
the axes.
"""

from regcore.losses.composite import LossSum, weighted_sum
from regcore.losses.consistency import inverse_consistency
from regcore.losses.factory import create_loss, list_losses
from regcore.losses.lncc import lncc
from regcore.losses.mind import mind_descriptor, mind_ssc
from regcore.losses.modules import (
    L2,
    LNCC,
    MINDSSC,
    MSE,
    NMI,
    SSIM,
    BendingEnergy,
    Diffusion,
    InverseConsistency,
    JacobianPenalty,
    Loss,
    Orthogonality,
    ReSAAttLoss,
    RigidParametersMSE,
    SoftDice,
    WeightedSum,
)
from regcore.losses.nmi import nmi
from regcore.losses.orthogonality import orthogonality
from regcore.losses.overlap import one_hot, soft_dice
from regcore.losses.regularity import bending_energy, diffusion, jacobian_penalty
from regcore.losses.resaatt import RESAATT_WEIGHTS, resaatt_loss, resaatt_terms
from regcore.losses.rigid import rigid_parameters_mse
from regcore.losses.similarity import l2, mse
from regcore.losses.ssim import ssim

__all__ = [
    "L2",
    "LNCC",
    "MINDSSC",
    "MSE",
    "NMI",
    "RESAATT_WEIGHTS",
    "SSIM",
    "BendingEnergy",
    "Diffusion",
    "InverseConsistency",
    "JacobianPenalty",
    "Loss",
    "LossSum",
    "Orthogonality",
    "ReSAAttLoss",
    "RigidParametersMSE",
    "SoftDice",
    "WeightedSum",
    "bending_energy",
    "create_loss",
    "diffusion",
    "inverse_consistency",
    "jacobian_penalty",
    "l2",
    "list_losses",
    "lncc",
    "mind_descriptor",
    "mind_ssc",
    "mse",
    "nmi",
    "one_hot",
    "orthogonality",
    "resaatt_loss",
    "resaatt_terms",
    "rigid_parameters_mse",
    "soft_dice",
    "ssim",
    "weighted_sum",
]
