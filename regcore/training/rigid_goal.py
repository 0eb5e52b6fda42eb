"""Rigid networks: fresh starts on cases with a known transform, judged by the surface error that remains.

Reference: Song et al., "Cross-modal Attention for MRI and Ultrasound Volume Registration", MICCAI 2021, section 2.3.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from regcore.data.batch import generator
from regcore.data.rigid_batches import PLAIN, Batch, RigidSampler, Variety
from regcore.data.rigid_cases import RigidCase
from regcore.data.synthesis.noise import chance
from regcore.data.synthesis.prostate_pool import SyntheticCases
from regcore.data.ultrasound_augmentation import IntensityAugmentation
from regcore.losses import rigid_parameters_mse
from regcore.models.base import Network, RigidModel
from regcore.ops.rigid import apply_matrix, mean_displacement, rigid_inverse, rigid_matrix, rigid_parameters
from regcore.training.data import RigidLoss, RigidOptions
from regcore.training.task import SCORE

_STARTS = 20  # per held-out case
_SOFTNESS_MM = 0.5  # below this distance the loss of points levels off


class RigidGoal:
    """See the module; a `regcore.training.task.Goal`.

    Args:
        model: the network, for the crop it takes.
        options: see `RigidOptions`.
        cases: to learn from.
        held_out: to judge by.
        seed: of the samples.

    Raises:
        ValueError: no cases, or a range of errors that is none.
    """

    def __init__(
        self,
        model: RigidModel,
        options: RigidOptions,
        cases: Sequence[RigidCase],
        held_out: Sequence[RigidCase],
        seed: int,
    ) -> None:
        self.kind, self.seed = options.loss, seed
        self.fixed_input = model.convention.fixed_input
        self._sampler = RigidSampler(cases, model.input_size, self.fixed_input, options.sre_mm, variety_of(options))
        self._intensities = IntensityAugmentation()
        self._synthetic, self._share = None, options.synthetic
        if options.synthetic:
            self._synthetic = SyntheticCases(seed, options.synthetic_shapes, cases)
        self.held_out: list[Batch] = []
        if held_out:
            plain = replace(PLAIN, translation_mm=options.translation_mm, rotation_deg=options.rotation_deg)
            judge = RigidSampler(held_out, model.input_size, self.fixed_input, options.sre_mm, plain, seed=99)
            self.held_out = [judge.draw_from([case] * _STARTS) for case in held_out]

    def loss(self, model: Network, numbers: list[int], device: torch.device) -> tuple[Tensor, dict[str, Tensor], float]:
        """Return the loss of some samples; it has no parts."""
        began = time.perf_counter()
        samples = [self._draw(number, device) for number in numbers]
        batch = Batch(*(torch.cat(parts).to(device) for parts in zip(*samples, strict=True)))
        seconds = time.perf_counter() - began
        found = cast(RigidModel, model)(batch.fixed, batch.moving, batch.side_mm)
        return rigid_loss(found.float(), batch, self.kind), {}, seconds

    def judge(self, model: Network, device: torch.device) -> dict[str, float]:
        """Return the mean surface registration error (mm) of the held-out cases before and after one pass."""
        if not self.held_out:
            return {}
        before, after = [], []
        for batch in self.held_out:
            found = cast(RigidModel, model)(batch.fixed.to(device), batch.moving.to(device), batch.side_mm.to(device))
            left = batch.residual @ rigid_inverse(rigid_matrix(found.cpu()))
            before.append(batch.start_sre)
            after.append(mean_displacement(left, batch.surface))
        start, end = float(torch.cat(before).mean()), float(torch.cat(after).mean())
        return {"sre_start_mm": start, "sre_mm": end, SCORE: -end}

    def pictures(self, model: Network, device: torch.device) -> Mapping[str, Tensor]:
        """Return none: six numbers are no picture."""
        return {}

    def _draw(self, number: int, device: torch.device) -> Batch:
        for part in (self._sampler, self._intensities):
            part.generator = generator(self.seed, number)
        # A choice with random numbers of its own: a sample of a real case is the same whatever the share.
        if self._synthetic and chance(self._share, generator(~self.seed, number)):
            batch = self._sampler.draw_from([self._synthetic.case_of(number, device)])
        else:
            batch = self._sampler.draw(1)
        change = self._intensities.gland if self.fixed_input == "label" else self._intensities.mri
        return batch._replace(fixed=change(batch.fixed), moving=self._intensities.ultrasound(batch.moving))


def variety_of(options: RigidOptions) -> Variety:
    """Return how samples differ from their cases."""
    return Variety(tilt_deg=options.tilt_deg, translation_mm=options.translation_mm, rotation_deg=options.rotation_deg)


def rigid_loss(found: Tensor, batch: Batch, loss: RigidLoss) -> Tensor:
    """Return the loss of predictions ``(N, 6)`` in mm and degrees, a scalar; see `RigidOptions`."""
    if loss == "parameters":
        return rigid_parameters_mse(found, rigid_parameters(batch.residual))
    left = apply_matrix(rigid_inverse(rigid_matrix(found)), batch.surface)
    apart = left - apply_matrix(rigid_inverse(batch.residual), batch.surface)
    return (apart.square().sum(dim=2) + _SOFTNESS_MM**2).sqrt().mean()
