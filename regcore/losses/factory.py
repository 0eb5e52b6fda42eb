"""The way to a loss by name."""

from __future__ import annotations

import inspect
from difflib import get_close_matches

from regcore.losses import modules

_LOSSES: dict[str, type[modules.Loss]] = {
    "bending_energy": modules.BendingEnergy,
    "diffusion": modules.Diffusion,
    "inverse_consistency": modules.InverseConsistency,
    "jacobian_penalty": modules.JacobianPenalty,
    "l2": modules.L2,
    "lncc": modules.LNCC,
    "mind_ssc": modules.MINDSSC,
    "mse": modules.MSE,
    "nmi": modules.NMI,
    "orthogonality": modules.Orthogonality,
    "resaatt_loss": modules.ReSAAttLoss,
    "rigid_parameters_mse": modules.RigidParametersMSE,
    "soft_dice": modules.SoftDice,
    "ssim": modules.SSIM,
}


def list_losses() -> list[str]:
    """Return the names `create_loss` knows, in alphabetical order; each is that of a function of `regcore.losses`."""
    return sorted(_LOSSES)


def create_loss(name: str, **options: object) -> modules.Loss:
    """Make the loss ``name``.

    Args:
        name: one of `list_losses`.
        options: of the module; wrong ones are refused.

    Raises:
        ValueError: unknown name or option.

    Examples:
        >>> create_loss("lncc", window=7)
        LNCC(window=7, eps=1e-05)
    """
    if name not in _LOSSES:
        nearest = get_close_matches(name.lower(), _LOSSES, n=1, cutoff=0.0)[0]
        raise ValueError(f"no loss is called {name!r}; did you mean {nearest!r}? There are {', '.join(list_losses())}")
    loss = _LOSSES[name]
    valid = list(inspect.signature(loss).parameters)
    unknown = [option for option in options if option not in valid]
    if unknown:
        raise ValueError(f"loss {name!r} has no option {', '.join(unknown)}; it has {', '.join(valid) or 'none'}")
    return loss(**options)
