"""Distance of rigid parameters from the true ones."""

from __future__ import annotations

from torch import Tensor

from regcore.losses._inputs import in_full_precision


@in_full_precision
def rigid_parameters_mse(
    found: Tensor, true: Tensor, *, translation_weight: float = 1.0, rotation_weight: float = 1.0
) -> Tensor:
    """Return the weighted mean square of the six parameters' errors.

    With both weights 1, as published, a millimetre counts as much as a degree.

    Args:
        found: ``(N, 6)``, ``(tx, ty, tz, ax, ay, az)`` in mm and degrees, as in `regcore.ops.rigid`.
        true: ``(N, 6)``.
        translation_weight: of the squared errors in mm.
        rotation_weight: of the squared errors in degrees.

    Returns:
        A scalar, 0 for equal parameters.

    Raises:
        ValueError: shapes differ or are not ``(N, 6)``.

    Reference:
        Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, section 2.3.
    """
    if found.shape != true.shape or found.ndim != 2 or found.shape[1] != 6:
        raise ValueError(f"found, true: expected (N, 6) both, got {tuple(found.shape)} and {tuple(true.shape)}")
    squares = (found - true).square()
    return 0.5 * (translation_weight * squares[:, :3].mean() + rotation_weight * squares[:, 3:].mean())
