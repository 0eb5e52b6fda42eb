"""Deformable networks: a weighted sum of losses, judged by overlap, landmarks, known displacement and folding."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from regcore.data.batch import PairBatch, PairSource, to_device
from regcore.metrics.overlap import dsc
from regcore.metrics.regularity import folding_percent
from regcore.models.base import Network, RegistrationModel
from regcore.ops.fields import jacobian_determinant
from regcore.ops.sampling import sample, warp
from regcore.training.config import LossTerm
from regcore.training.objective import Objective
from regcore.training.picture_row import picture_row
from regcore.training.task import SCORE

_SHOWN = 3  # held-out pairs


class DeformableGoal:
    """See the module; a `regcore.training.task.Goal`.

    Args:
        source: where pairs come from.
        terms: of the loss.
        device: where the held-out pairs are made; they are kept in the computer's memory.

    Raises:
        ValueError: an unknown loss, or one that needs what the source does not know.
    """

    def __init__(self, source: PairSource, terms: Sequence[LossTerm], device: torch.device) -> None:
        self.source = source
        self.objective = Objective(terms, source.labels)
        self.held_out = [to_device(batch, torch.device("cpu")) for batch in source.validation(device)]

    def loss(self, model: Network, numbers: list[int], device: torch.device) -> tuple[Tensor, dict[str, Tensor], float]:
        """Return the loss of some samples, its parts by name, and the seconds that drawing them took."""
        began = time.perf_counter()
        batch = self.source.draw(numbers, device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
        return *self.objective(cast(RegistrationModel, model), batch), seconds

    def judge(self, model: Network, device: torch.device) -> dict[str, float]:
        """Return figures of the held-out pairs, each the mean over those pairs that it is known of.

        Dice of the labels, target registration error of the landmarks (mm of the fixed image, which differ from those
        of the moving one where the table's initial transform stretches), error of the displacement (voxels), each
        before and after, loss and folding. The score is the first of them that is known.
        """
        found: dict[str, list[float]] = {}
        for held in self.held_out:
            batch = to_device(held, device)
            loss, _ = self.objective(cast(RegistrationModel, model), batch)
            displacement = model(batch.fixed, batch.moving).displacement
            for name, value in self._figures(batch, displacement).items():
                found.setdefault(name, []).append(value)
            found.setdefault("loss", []).append(float(loss))
        figures = {name: sum(values) / len(values) for name, values in found.items()}
        return figures | _score(figures)

    def pictures(self, model: Network, device: torch.device) -> Mapping[str, Tensor]:
        """Return a row of pictures of some held-out pairs."""
        rows = {}
        with torch.inference_mode():
            for number, held in enumerate(self.held_out[:_SHOWN]):
                batch = to_device(held, device)
                displacement = model(batch.fixed[:1], batch.moving[:1]).displacement
                rows[f"pair {number}"] = picture_row(batch.fixed[:1], batch.moving[:1], displacement)
        return rows

    def _figures(self, batch: PairBatch, displacement: Tensor) -> dict[str, float]:
        figures = {"folding_percent": folding_percent(jacobian_determinant(displacement))}
        figures |= _overlap(batch, displacement, self.source.labels)
        figures |= _landmark_error(batch, displacement, self.source.spacing_mm)
        if batch.displacement is not None:
            error = (displacement - batch.displacement).norm(dim=1)
            figures |= {"error_start": float(batch.displacement.norm(dim=1).mean()), "error": float(error.mean())}
        return figures


def _overlap(batch: PairBatch, displacement: Tensor, labels: Sequence[int]) -> dict[str, float]:
    figures: dict[str, float] = {}
    if batch.fixed_labels is None or batch.moving_labels is None:
        return figures
    warped = warp(batch.moving_labels[:, None].float(), displacement, "nearest")[:, 0].round().long()
    for name, there in (("dsc_start", batch.moving_labels), ("dsc", warped)):
        each = [dsc(fixed, moving, labels or None) for fixed, moving in zip(batch.fixed_labels, there, strict=True)]
        values = [value for scores in each for value in scores.values() if value == value]
        figures[name] = sum(values) / max(1, len(values))
    return figures


def _landmark_error(batch: PairBatch, displacement: Tensor, spacing_mm: float) -> dict[str, float]:
    """Return the mean distance of landmarks (mm) before and after; those outside the fixed grid are left out."""
    if batch.fixed_points is None or batch.moving_points is None:
        return {}
    fixed, moving = batch.fixed_points, batch.moving_points
    last = torch.tensor(displacement.shape[2:], device=fixed.device) - 0.5
    seen = ((fixed >= -0.5) & (fixed <= last) & moving.isfinite()).all(dim=2)
    if not bool(seen.any()):
        return {}
    where = fixed.nan_to_num().mT.reshape(*fixed.mT.shape, *[1] * (fixed.shape[2] - 1))
    shift = sample(displacement.float(), where, padding="border").flatten(2).mT
    apart = {"tre_start_mm": moving - fixed, "tre_mm": moving - fixed - shift}
    return {name: spacing_mm * float(rest.norm(dim=2)[seen].mean()) for name, rest in apart.items()}


def _score(figures: Mapping[str, float]) -> dict[str, float]:
    if "dsc" in figures:
        return {SCORE: figures["dsc"]}
    first = next((name for name in ("tre_mm", "error", "loss") if name in figures), None)
    return {} if first is None else {SCORE: -figures[first]}
