"""What a user may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from regcore.start import StartKind

Similarity = Literal["auto", "lncc", "mind", "mi"]
Quality = Literal["fast", "balanced", "best"]

REFINE = "refine"


@dataclass(frozen=True)
class Settings:
    """What a user may choose.

    Attributes:
        model: a name of `regcore.weights.all_models`, or ``none``: initial transform and refinement alone.
        init: how the volumes are brought together first, one step after the other; None: as suits the model.
        refine: iterations on the pair itself: None the default budget, 0 none; of a rigid model it is on or off.
        similarity: what refinement compares: ``lncc`` within a modality, ``mind`` across, ``auto`` by correlation; of
            a rigid model ``mind``, unless ``mi``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        inverse: also work out the way back.
        seed: of the weights of a model that has none on file, and of the ensemble.
        weights: folder of weights to use in the place of the user's and the package's.
        stages: models and ``refine``, one going on from the other, in the place of ``model``; None: ``model``, then
            refinement.
        passes: of a rigid model; None: see `regcore.rigid_step.usual_passes`.
        ensemble: runs of a rigid model from slightly different starts; 1: no spread is known.
        slicewise: register a volume slice by slice, nothing moving between slices; None: where the model registers
            2D images and the slices are thick, or where it registers nothing else.
        quality: of the deformable refinement: ``fast`` stops at half the resolution, ``best`` takes twice the
            iterations; ``refine`` still sets their number.
    """

    model: str = "none"
    init: tuple[StartKind, ...] | None = None
    refine: int | None = None
    similarity: Similarity = "auto"
    device: str = "auto"
    inverse: bool = True
    seed: int = 0
    weights: Path | None = None
    stages: tuple[str, ...] | None = None
    passes: int | None = None
    ensemble: int = 8
    slicewise: bool | None = None
    quality: Quality = "balanced"

    @property
    def chain(self) -> tuple[str, ...]:
        """The models and `REFINE`, in the order they run."""
        if self.stages is not None:
            return self.stages
        network = () if self.model == "none" else (self.model,)
        return network if self.refine == 0 else (*network, REFINE)

    @property
    def left_open(self) -> bool:
        """Whether it was left to the program how to refine."""
        return self.refine is None and self.similarity == "auto"

    @property
    def networks(self) -> tuple[str, ...]:
        """The models among them."""
        return tuple(name for name in self.chain if name != REFINE)
