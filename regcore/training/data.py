"""What a training run learns from: one section of the configuration per kind of data, and the sources made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from regcore.data.augmentation import AugmentationOptions, AugmentedSource
from regcore.data.batch import PairSource
from regcore.data.digit_source import DigitOptions, DigitSource
from regcore.data.image_source import ImageOptions, ImageSource
from regcore.data.misalignment import ROTATION_DEG, TRANSLATION_MM
from regcore.data.phantom_source import PhantomOptions, PhantomSource
from regcore.data.synthesis.label_source import LabelOptions, LabelSource
from regcore.data.synthesis.prostate_pool import SyntheticShapes
from regcore.data.synthesis.shape_source import ShapeOptions, ShapeSource

RigidLoss = Literal["points", "parameters"]
Kind = Literal["labels", "shapes", "images", "phantom", "digits", "rigid"]


@dataclass(frozen=True)
class RigidOptions:
    """Cases to learn a rigid transform from.

    Attributes:
        folder: of ``NAME_mri.nii.gz``, ``NAME_trus.nii.gz``, ``NAME_mri_labels.nii.gz``, ``NAME_reference.tfm``.
        cases: names to learn from.
        held_out: names to judge by; may be empty.
        sre_mm: range of the starts' surface registration error.
        translation_mm: share of shifts in that error, see `regcore.data.misalignment.misalign`.
        rotation_deg: share of rotations in it, likewise.
        tilt_deg: deviation of a sample's axes from the MRI's. Ultrasound sweeps lie much as the MRI does; where a
            sample is tilted more than the starts are, a network cannot learn that.
        loss: ``points``, the mean distance on the gland's surface that remains (what is measured in the end), or
            ``parameters``, the paper's mean square of the six numbers.
        synthetic: share of samples drawn from synthetic prostates, 0 to 1.
        synthetic_shapes: ``random``, glands from nothing, or ``cases``, those of the cases to learn from, bent anew.
    """

    folder: str = ""
    cases: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    sre_mm: tuple[float, float] = (0.0, 20.0)
    translation_mm: float = TRANSLATION_MM
    rotation_deg: float = ROTATION_DEG
    tilt_deg: float = 8.0
    loss: RigidLoss = "points"
    synthetic: float = 0.0
    synthetic_shapes: SyntheticShapes = "random"

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.synthetic <= 1:
            raise ValueError(f"data.rigid.synthetic: expected a share from 0 to 1, got {self.synthetic}")
        ranges = {"translation_mm": self.translation_mm, "rotation_deg": self.rotation_deg, "tilt_deg": self.tilt_deg}
        for name, value in ranges.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"data.rigid.{name}: expected 0 or more, got {value}")
        if self.translation_mm == self.rotation_deg == 0:
            raise ValueError("data.rigid.rotation_deg: starts need shifts or rotations; translation_mm is 0 too")


@dataclass(frozen=True)
class DataConfig:
    """What a run learns from; only the section that ``kind`` names is read.

    Attributes:
        kind: of data.
        labels: pairs synthesised from label maps.
        shapes: pairs synthesised from nothing.
        images: pairs of real images.
        phantom: generated pairs with known truth.
        digits: handwritten digits.
        augmentation: changes to the pairs, of whatever kind, but rigid ones, which have their own.
        rigid: volumes with a known rigid transform, for rigid networks.
    """

    kind: Kind = "shapes"
    labels: LabelOptions = field(default_factory=LabelOptions)
    shapes: ShapeOptions = field(default_factory=ShapeOptions)
    images: ImageOptions = field(default_factory=ImageOptions)
    phantom: PhantomOptions = field(default_factory=PhantomOptions)
    digits: DigitOptions = field(default_factory=DigitOptions)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    rigid: RigidOptions = field(default_factory=RigidOptions)


def make_source(config: DataConfig, seed: int) -> PairSource:
    """Return where the pairs of a deformable network come from.

    Args:
        config: see `DataConfig`.
        seed: of the run.

    Raises:
        ValueError: data that cannot be read, or that are for rigid networks.
    """
    source = _plain_source(config, seed)
    if config.augmentation == AugmentationOptions():
        return source
    return AugmentedSource(source, config.augmentation, seed)


def _plain_source(config: DataConfig, seed: int) -> PairSource:
    if config.kind == "labels":
        return LabelSource(config.labels, seed)
    if config.kind == "shapes":
        return ShapeSource(config.shapes, seed)
    if config.kind == "images":
        return ImageSource(config.images, seed)
    if config.kind == "phantom":
        return PhantomSource(config.phantom, seed)
    if config.kind == "digits":
        return DigitSource(config.digits, seed)
    able = ", ".join(kind for kind in get_args(Kind) if kind != "rigid")
    raise ValueError(f"data.kind: {config.kind} is for rigid networks; a deformable one learns from {able}")
