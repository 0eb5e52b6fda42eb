"""CAML: cross attention between two images over several levels, in two passes.

Reference:
    Cross attention over multi-layers for 3D deformable registration, Intelligent Data Analysis, 2024,
    doi:10.3233/IDA-230692. The text at hand gives neither widths nor equations: the widths are those of its
    foundation (Shi et al.: XMorpher, MICCAI 2022), the rest is our reading. Written anew; no code or weights of
    either.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from regcore.models._registry import ModelInfo, register_model
from regcore.models.base import Prediction, RegistrationModel
from regcore.models.layers.cross_attention import FusionOptions, Merge
from regcore.models.layers.fusion_unet import CROSS_LEVELS, CrossLevels, FusionUNet
from regcore.models.layers.patches import PATCH
from regcore.models.layers.pooling import halve
from regcore.ops.contrast import matched
from regcore.ops.fields import compose, exp
from regcore.ops.sampling import warp

_SQUARINGS = 7


def _smoothness(displacement: Tensor) -> Tensor:
    """Return the mean squared difference to the next voxel, the mean over the axes."""
    along = [
        F.mse_loss(displacement.narrow(axis, 1, n - 1), displacement.narrow(axis, 0, n - 1))
        for axis, n in enumerate(displacement.shape[2:], start=2)
    ]
    return torch.stack(along).mean()


class CAML(RegistrationModel):
    """Cross attention over several levels (CAML), residual skips (RBSC) and two passes (CARSC).

    Both images go through a U-shaped network as a batch, with the same weights. At each level, windows of one
    attend to wider windows of the other, and to the other's finer levels pooled to this size. The second pass
    registers the image that the first one warped, and takes over the first one's features.

    Args:
        channels: of the finest level; each level has twice as many as the one before.
        depths: fusion modules per level, finest first, in the encoder and again in the decoder.
        heads: of the attention, per level.
        cross_levels: which other levels attention looks at: ``none``, the next ``finer`` or ``all_finer``.
        patch: voxels a side of a token of the finest level.
        merge: see `FusionOptions`; so are ``window``, ``magnification`` and ``checkpoint``. A window of 4 with a
            magnification of 2 copies every key 8 times, not 27, but compares each query with 512 of them, not 216.
        residual_skips: residual blocks on the skip connections.
        cascade: run a second pass, of the same weights, after the first.
        bottleneck: of the residual blocks between the passes, make the coarsest one a bottleneck; in full it has
            a quarter of all parameters.
        stochastic_depth: share of blocks that training skips, rising linearly to this at the last module.
        diffeomorphic: take the output of each pass for a velocity and integrate it in seven squarings. What comes
            out folds no more, unless it squeezes space to less than its voxels can show.
        half_resolution: work on images of half the size and enlarge the displacement.
        match_contrast: as in `regcore.models.pan.PAN`; the paper registers T1 to T1 and has no need of it.

    Raises:
        ValueError: options that do not fit each other or are out of range.
    """

    def __init__(
        self,
        channels: int = 48,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        *,
        cross_levels: CrossLevels = "finer",
        merge: Merge = "mean",
        residual_skips: bool = True,
        cascade: bool = True,
        bottleneck: bool = True,
        patch: int = PATCH,
        window: int = 2,
        magnification: int = 3,
        stochastic_depth: float = 0.2,
        checkpoint: bool = True,
        diffeomorphic: bool = False,
        half_resolution: bool = False,
        match_contrast: bool = False,
    ) -> None:
        super().__init__(dimensions=3, size_multiple=2 * patch if half_resolution else patch)
        _check(channels, depths, heads, cross_levels, stochastic_depth)
        if patch < 1:
            raise ValueError(f"patch must be positive, got {patch}")
        self.match_contrast = match_contrast
        self.cascade = cascade
        self.diffeomorphic = diffeomorphic
        self.half_resolution = half_resolution
        # A coarsest level of a single token would leave attention no choice and instance norm nothing but zeros.
        self.least_side = patch * (2 ** (len(depths) - 1) + 1)
        self.network = FusionUNet(
            channels,
            depths,
            heads,
            cross_levels=cross_levels,
            residual_skips=residual_skips,
            carries=cascade,
            bottleneck=bottleneck,
            stochastic_depth=stochastic_depth,
            patch=patch,
            options=FusionOptions(window, magnification, merge, checkpoint),
        )

    def predict(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the displacement ``(N, 3, *size)`` for sides divisible by ``size_multiple``.

        The penalties, of two passes, are ``smoothness_first`` and ``smoothness_second``: the mean squared differences
        between neighbours of each pass's displacement.
        """
        if self.match_contrast:
            moving = matched(moving, fixed)
        if self.half_resolution:
            fixed, moving = halve(fixed), halve(moving)
        rows = fixed.shape[2]
        if max(fixed.shape[2:]) < self.least_side:
            more = (0, 0, 0, 0, 0, self.least_side - rows)
            fixed, moving = F.pad(fixed, more), F.pad(moving, more)
        displacement, features = self._once(moving, fixed, None)
        penalties: dict[str, Tensor] = {}
        if self.cascade:
            with torch.autocast(fixed.device.type, enabled=False):
                warped = warp(moving.to(displacement.dtype), displacement)
            second, _ = self._once(warped, fixed, features)
            del features, warped
            with torch.autocast(fixed.device.type, enabled=False):
                penalties = {"smoothness_first": _smoothness(displacement), "smoothness_second": _smoothness(second)}
                displacement = compose(second, displacement)
        displacement = displacement[:, :, :rows]
        if self.half_resolution:
            # Voxels of the half-size image are averages of two a side: their centres lie between voxels.
            displacement = F.interpolate(displacement * 2, scale_factor=2.0, mode="trilinear", align_corners=False)
        return Prediction(displacement, penalties)

    def _once(self, moving: Tensor, fixed: Tensor, carried: Sequence[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        displacement, features = self.network(moving, fixed, carried)
        if self.diffeomorphic:
            with torch.autocast(fixed.device.type, enabled=False):
                displacement = exp(displacement, _SQUARINGS)
        return displacement, features


def _check(
    channels: int, depths: Sequence[int], heads: Sequence[int], cross_levels: str, stochastic_depth: float
) -> None:
    if len(depths) != len(heads) or min(depths, default=0) < 1:
        raise ValueError(
            f"depths and heads must be positive numbers, one for each level, got {tuple(depths)} and {tuple(heads)}"
        )
    if channels < 4 or channels % 4 or any(h < 1 or channels * 2**k % h for k, h in enumerate(heads)):
        raise ValueError(
            "channels must be a multiple of 4 and, doubled at each level, of the heads there, "
            f"got {channels} with heads {tuple(heads)}"
        )
    if cross_levels not in CROSS_LEVELS:
        raise ValueError(f"cross_levels must be one of {', '.join(CROSS_LEVELS)}, got {cross_levels!r}")
    if not 0 <= stochastic_depth < 1:
        raise ValueError(f"stochastic_depth must be at least 0 and below 1, got {stochastic_depth}")


_PAPER = (
    "Cross attention over multi-layers for 3D deformable registration, Intelligent Data Analysis 2024, "
    "doi:10.3233/IDA-230692"
)


def _info(name: str, size_multiple: int = PATCH) -> ModelInfo:
    return ModelInfo(name, "deformable", (3,), _PAPER, default_spacing_mm=1.0, size_multiple=size_multiple)


@register_model(_info("caml"))
def caml(
    channels: int = 48,
    depths: Sequence[int] = (2, 2, 6, 2),
    heads: Sequence[int] = (3, 6, 12, 24),
    cross_levels: CrossLevels = "finer",
    merge: Merge = "mean",
    residual_skips: bool = True,
    cascade: bool = True,
    bottleneck: bool = True,
    patch: int = PATCH,
    window: int = 2,
    magnification: int = 3,
    stochastic_depth: float = 0.2,
    checkpoint: bool = True,
    diffeomorphic: bool = False,
    half_resolution: bool = False,
    match_contrast: bool = False,
) -> CAML:
    """Make CAML; the options are those of `CAML`."""
    return CAML(
        channels,
        depths,
        heads,
        cross_levels=cross_levels,
        merge=merge,
        residual_skips=residual_skips,
        cascade=cascade,
        bottleneck=bottleneck,
        patch=patch,
        window=window,
        magnification=magnification,
        stochastic_depth=stochastic_depth,
        checkpoint=checkpoint,
        diffeomorphic=diffeomorphic,
        half_resolution=half_resolution,
        match_contrast=match_contrast,
    )


@register_model(_info("caml-small"))
def caml_small(
    cross_levels: CrossLevels = "finer",
    residual_skips: bool = True,
    cascade: bool = True,
    window: int = 2,
    magnification: int = 3,
    checkpoint: bool = True,
    diffeomorphic: bool = False,
) -> CAML:
    """Make CAML with two thirds of the channels and one fusion module per level."""
    return CAML(
        32,
        (1, 1, 1, 1),
        (2, 4, 8, 16),
        cross_levels=cross_levels,
        residual_skips=residual_skips,
        cascade=cascade,
        window=window,
        magnification=magnification,
        checkpoint=checkpoint,
        diffeomorphic=diffeomorphic,
    )


@register_model(_info("caml-half", 2 * PATCH))
def caml_half(
    cross_levels: CrossLevels = "finer",
    residual_skips: bool = True,
    cascade: bool = True,
    window: int = 2,
    magnification: int = 3,
    checkpoint: bool = True,
    diffeomorphic: bool = False,
) -> CAML:
    """Make CAML that works on images of half the size: an eighth of the voxels."""
    return CAML(
        cross_levels=cross_levels,
        residual_skips=residual_skips,
        cascade=cascade,
        window=window,
        magnification=magnification,
        checkpoint=checkpoint,
        diffeomorphic=diffeomorphic,
        half_resolution=True,
    )
