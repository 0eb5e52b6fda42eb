"""The loss of a deformable network as a configuration names it: terms on images, labels, fields and penalties.

Masks say where images are compared; ``resaatt_loss``, overlap and what is asked of the field itself look everywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from regcore.data.batch import PairBatch
from regcore.losses import Loss, create_loss, list_losses, one_hot, weighted_sum
from regcore.models.base import Prediction, RegistrationModel
from regcore.ops.sampling import warp
from regcore.training.config import LossTerm

_ON_IMAGES = ("l2", "lncc", "mind_ssc", "mse", "nmi", "ssim")
_ON_FIELDS = ("bending_energy", "diffusion", "jacobian_penalty")
_ON_BOTH = ("resaatt_loss",)
_TWO_WAYS = ("inverse_consistency",)
_OVERLAP = "soft_dice"
_ERROR = "error"  # mean square of what the displacement lacks, squared voxels

NAMES = (*_ON_IMAGES, *_ON_FIELDS, *_ON_BOTH, *_TWO_WAYS, _OVERLAP, _ERROR)


class Objective:
    """Computes the loss of a batch.

    Args:
        terms: of the loss; a name that is no loss is a penalty of the network.
        labels: values of the structures that count for overlap.

    Raises:
        ValueError: no terms, one of them twice, or a loss with an option it does not have.
    """

    def __init__(self, terms: Sequence[LossTerm], labels: Sequence[int]) -> None:
        if not terms:
            raise ValueError(f"loss: expected at least one term; there are {', '.join(NAMES)}")
        self.weights = {term.name: term.weight for term in terms}
        if len(self.weights) < len(terms):
            raise ValueError("loss: each term may be there once; add up the weights")
        self.losses: dict[str, Loss] = {
            term.name: create_loss(term.name, **term.options) for term in terms if term.name in list_losses()
        }
        if _OVERLAP in self.weights and not labels:
            raise ValueError(f"loss: {_OVERLAP} needs labels, which these data do not have; leave it out")
        self.labels = tuple(labels)

    def __call__(self, model: RegistrationModel, batch: PairBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts by name, before their weights.

        Raises:
            ValueError: a term that is neither a loss nor a penalty of this network, or that these data do not allow.
        """
        prediction = model(batch.fixed, batch.moving)
        displacement = prediction.displacement
        with torch.autocast(displacement.device.type, enabled=False):
            warped = warp(batch.moving, displacement)
            terms = {name: self._term(name, model, batch, prediction, warped) for name in self.weights}
            found = weighted_sum(terms, self.weights)
        return found.total, found.parts

    def _term(
        self, name: str, model: RegistrationModel, batch: PairBatch, prediction: Prediction, warped: Tensor
    ) -> Tensor:
        displacement, loss = prediction.displacement, self.losses.get(name)
        if name == _ERROR:
            if batch.displacement is None:
                raise ValueError(f"loss: {_ERROR} needs known displacements, which these data do not have")
            return (displacement - batch.displacement).square().sum(dim=1).mean()
        if loss is None:
            return _penalty(name, prediction.penalties)
        if name in _ON_IMAGES:
            return loss(warped, batch.fixed, _counted(batch, displacement))  # type: ignore[no-any-return]
        if name in _ON_FIELDS:
            return loss(displacement)  # type: ignore[no-any-return]
        if name in _ON_BOTH:
            return loss(warped, batch.fixed, displacement)  # type: ignore[no-any-return]
        if name in _TWO_WAYS:
            return loss(displacement, model(batch.moving, batch.fixed).displacement)  # type: ignore[no-any-return]
        if name == _OVERLAP:
            return self._overlap(loss, batch, displacement)
        raise ValueError(f"loss: {name} is not for displacements; there are {', '.join(NAMES)}")

    def _overlap(self, loss: Loss, batch: PairBatch, displacement: Tensor) -> Tensor:
        if batch.fixed_labels is None or batch.moving_labels is None:
            raise ValueError(f"loss: {_OVERLAP} needs labels of both images, which these data do not have")
        seen = torch.unique(torch.stack([batch.fixed_labels, batch.moving_labels])).tolist()
        present = [label for label in self.labels if label in set(seen)]
        if not present:
            return displacement.sum() * 0
        fixed = one_hot(batch.fixed_labels[:, None], present).to(displacement)
        moving = one_hot(batch.moving_labels[:, None], present).to(displacement)
        return loss(warp(moving, displacement), fixed)  # type: ignore[no-any-return]


def _counted(batch: PairBatch, displacement: Tensor) -> Tensor | None:
    """Return where both images count, the moving one's mask where it ends up; no gradient: a mask is no goal."""
    if batch.moving_mask is None:
        return batch.mask
    warped = warp(batch.moving_mask, displacement.detach(), padding="border")
    return warped if batch.mask is None else batch.mask * warped


def _penalty(name: str, penalties: Mapping[str, Tensor]) -> Tensor:
    if name not in penalties:
        known = (*NAMES, *penalties)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"loss: no term is called {name}; {advice}")
    return penalties[name]
