"""What comes with a pair of images: labels, landmarks, masks; which of them are used, and which halves are refused."""

from __future__ import annotations

from collections.abc import Sequence

from regcore.image import Image
from regcore.preprocess import Inputs, gland_of
from regcore.procrustes import landmark_transform
from regcore.rigid_step import is_rigid
from regcore.settings import Settings
from regcore.summary import Truth
from regcore.transform import AffineTransform


def has_rigid(settings: Settings) -> bool:
    """Whether some stage looks at one organ and moves it as a whole."""
    return any(is_rigid(name) for name in settings.networks)


def check_truth(truth: Truth, dim: int, alone: bool) -> None:
    """Refuse half of a pair, and what has another dimension than the images.

    Args:
        truth: labels and landmarks.
        dim: of the images.
        alone: whether labels of the fixed image are enough, as they say where the gland is.

    Raises:
        ValueError: in one sentence.
    """
    pairs = (
        ("labels", truth.fixed_labels, truth.moving_labels),
        ("landmarks", truth.fixed_landmarks, truth.moving_landmarks),
    )
    for name, fixed, moving in pairs:
        if alone and name == "labels" and moving is None:
            continue
        if (fixed is None) != (moving is None):
            raise ValueError(f"{name}: pass them for both images, or for neither")
    for name, labels in (("fixed-labels", truth.fixed_labels), ("moving-labels", truth.moving_labels)):
        if labels is not None and labels.dim != dim:
            raise ValueError(f"{name}: expected a {dim}D label map like the image, got {labels.dim}D")


def landmark_start(truth: Truth) -> AffineTransform:
    """Return the transform that brings the landmarks together.

    Raises:
        ValueError: there are none, or too few.
    """
    if truth.fixed_landmarks is None or truth.moving_landmarks is None:
        raise ValueError("init: landmarks needs --fixed-landmarks and --moving-landmarks")
    return landmark_transform(truth.fixed_landmarks.points, truth.moving_landmarks.points)


def gather(
    images: tuple[Image, Image],
    masks: tuple[Image | None, Image | None],
    truth: Truth,
    settings: Settings,
    gland_labels: Sequence[int],
) -> Inputs:
    """Return what is registered, the glands too where a rigid model or start asks for them.

    Raises:
        ValueError: a gland that is asked for and empty.
    """
    organs = {"organ", "labels"} & set(settings.init or ())
    asked = has_rigid(settings) or truth.transform is not None or organs
    glands = [
        gland_of(labels, name, gland_labels) if asked and labels is not None else None
        for name, labels in (("fixed-labels", truth.fixed_labels), ("moving-labels", truth.moving_labels))
    ]
    return Inputs(*images, *masks, *glands)
