"""What a user may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from regcore.start import StartKind

Similarity = Literal["auto", "lncc", "mind", "mi"]


@dataclass(frozen=True)
class Settings:
    """What a user may choose.

    Attributes:
        model: a name of `regcore.models.list_models`, or ``none``: initial transform and refinement alone.
        init: how the volumes are brought together first, one step after the other; None: as suits the model.
        refine: iterations on the pair itself: None the default budget, 0 none; of a rigid model it is on or off.
        similarity: what refinement compares: ``lncc`` within a modality, ``mind`` across, ``auto`` by correlation; of
            a rigid model ``mind``, unless ``mi``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        inverse: also work out the way back.
        seed: of the weights of a model that has none on file, and of the ensemble.
        weights: folder of weights to use in the place of those that come with the package.
        stages: of a rigid model; None: one per trained network.
        ensemble: runs of a rigid model from slightly different starts; 1: no spread is known.
    """

    model: str = "none"
    init: tuple[StartKind, ...] | None = None
    refine: int | None = None
    similarity: Similarity = "auto"
    device: str = "auto"
    inverse: bool = True
    seed: int = 0
    weights: Path | None = None
    stages: int | None = None
    ensemble: int = 8
