"""The losses as modules that hold their options and nothing else; what they compute is said at the functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from regcore.losses.composite import LossSum, weighted_sum
from regcore.losses.consistency import inverse_consistency
from regcore.losses.lncc import lncc
from regcore.losses.mind import mind_ssc
from regcore.losses.nmi import nmi
from regcore.losses.orthogonality import Form, orthogonality
from regcore.losses.overlap import soft_dice
from regcore.losses.regularity import Scheme, bending_energy, diffusion, jacobian_penalty
from regcore.losses.resaatt import resaatt_loss
from regcore.losses.rigid import rigid_parameters_mse
from regcore.losses.similarity import l2, mse
from regcore.losses.ssim import ssim


class Loss(nn.Module):
    """A loss whose options are its attributes; printing it shows them."""

    def __init__(self) -> None:
        super().__init__()

    def extra_repr(self) -> str:
        """Return the options as in the call that made the module."""
        own = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in own.items())


class MSE(Loss):
    """Module of `regcore.losses.mse`."""

    def forward(self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the function."""
        return mse(warped, fixed, mask=mask)


class L2(Loss):
    """Module of `regcore.losses.l2`."""

    def forward(self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the function."""
        return l2(warped, fixed, mask=mask)


class SSIM(Loss):
    """Module of `regcore.losses.ssim`."""

    def __init__(self, data_range: float = 1.0, window: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        self.data_range, self.window, self.sigma = data_range, window, sigma

    def forward(self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the function."""
        return ssim(warped, fixed, mask=mask, data_range=self.data_range, window=self.window, sigma=self.sigma)


class LNCC(Loss):
    """Module of `regcore.losses.lncc`."""

    def __init__(self, window: int | Sequence[int] = 9, eps: float = 1e-5) -> None:
        super().__init__()
        self.window, self.eps = window, eps

    def forward(self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the function."""
        return lncc(warped, fixed, mask=mask, window=self.window, eps=self.eps)


class NMI(Loss):
    """Module of `regcore.losses.nmi`."""

    def __init__(self, bins: int = 32, value_range: tuple[float, float] | None = None) -> None:
        super().__init__()
        self.bins, self.value_range = bins, value_range

    def forward(self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the function."""
        return nmi(warped, fixed, mask=mask, bins=self.bins, value_range=self.value_range)


class MINDSSC(Loss):
    """Module of `regcore.losses.mind_ssc`."""

    def forward(self, warped: Tensor, fixed: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the function."""
        return mind_ssc(warped, fixed, mask=mask)


class SoftDice(Loss):
    """Module of `regcore.losses.soft_dice`."""

    def __init__(self, labels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, warped: Tensor, fixed: Tensor) -> Tensor:
        """See the function."""
        return soft_dice(warped, fixed, labels=self.labels)


class Diffusion(Loss):
    """Module of `regcore.losses.diffusion`."""

    def __init__(self, spacing: Sequence[float] | None = None) -> None:
        super().__init__()
        self.spacing = spacing

    def forward(self, displacement: Tensor) -> Tensor:
        """See the function."""
        return diffusion(displacement, spacing=self.spacing)


class BendingEnergy(Loss):
    """Module of `regcore.losses.bending_energy`."""

    def forward(self, displacement: Tensor) -> Tensor:
        """See the function."""
        return bending_energy(displacement)


class JacobianPenalty(Loss):
    """Module of `regcore.losses.jacobian_penalty`."""

    def __init__(self, scheme: Scheme = "forward") -> None:
        super().__init__()
        self.scheme: Scheme = scheme

    def forward(self, displacement: Tensor) -> Tensor:
        """See the function."""
        return jacobian_penalty(displacement, scheme=self.scheme)


class InverseConsistency(Loss):
    """Module of `regcore.losses.inverse_consistency`."""

    def forward(self, there: Tensor, back: Tensor) -> Tensor:
        """See the function."""
        return inverse_consistency(there, back)


class Orthogonality(Loss):
    """Module of `regcore.losses.orthogonality`."""

    def __init__(self, form: Form = "code") -> None:
        super().__init__()
        self.form: Form = form

    def forward(self, heads: Tensor) -> Tensor:
        """See the function."""
        return orthogonality(heads, form=self.form)


class RigidParametersMSE(Loss):
    """Module of `regcore.losses.rigid_parameters_mse`."""

    def __init__(self, translation_weight: float = 1.0, rotation_weight: float = 1.0) -> None:
        super().__init__()
        self.translation_weight, self.rotation_weight = translation_weight, rotation_weight

    def forward(self, found: Tensor, true: Tensor) -> Tensor:
        """See the function."""
        weights = {"translation_weight": self.translation_weight, "rotation_weight": self.rotation_weight}
        return rigid_parameters_mse(found, true, **weights)


class ReSAAttLoss(Loss):
    """Module of `regcore.losses.resaatt_loss`."""

    def forward(self, warped: Tensor, fixed: Tensor, displacement: Tensor) -> Tensor:
        """See the function."""
        return resaatt_loss(warped, fixed, displacement)


class WeightedSum(Loss):
    """Module of `regcore.losses.weighted_sum`."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def forward(self, terms: Mapping[str, Tensor]) -> LossSum:
        """See the function."""
        return weighted_sum(terms, self.weights)
