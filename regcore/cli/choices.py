"""What the options of `regcore register` mean: files read, settings filled in, halves of pairs refused."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from jsonargparse import Namespace

from regcore.given import check_truth, gather, landmark_start
from regcore.given import has_rigid as has_rigid
from regcore.image import Image
from regcore.io import read_labels, read_transform
from regcore.landmarks import Landmarks, read_landmarks
from regcore.preprocess import Inputs
from regcore.presets import load_preset, with_preset
from regcore.settings import REFINE, Settings
from regcore.start import START_KINDS, StartKind
from regcore.summary import Truth
from regcore.transform import Transform


def settings_of(chosen: Namespace) -> tuple[Settings, list[str]]:
    """Return what was chosen, a preset filling in what was not, and sentences about what it left out."""
    asked = Settings(
        chosen.model,
        None,
        chosen.refine,
        chosen.similarity,
        chosen.device,
        seed=chosen.seed,
        weights=chosen.weights,
        stages=None if chosen.stages is None else _chain(chosen.stages),
        passes=chosen.passes,
        ensemble=chosen.ensemble,
        slicewise=chosen.slicewise,
        quality=chosen.quality,
    )
    return (asked, []) if chosen.preset is None else with_preset(asked, load_preset(chosen.preset))


def _chain(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    return tuple(REFINE if name == "refinement" else name for name in names)


def truth_of(chosen: Namespace, fixed: Image, alone: bool) -> Truth:
    """Read what is known of the pair besides the images; labels of the fixed image ``alone`` may be enough."""
    true = chosen.true_transform
    truth = Truth(
        _labels(chosen.fixed_labels, "fixed-labels"),
        _labels(chosen.moving_labels, "moving-labels"),
        landmarks_of(chosen.fixed_landmarks, fixed, "fixed-landmarks") if chosen.fixed_landmarks else None,
        landmarks_of(chosen.moving_landmarks, fixed, "moving-landmarks") if chosen.moving_landmarks else None,
        None if true is None else read_transform(true, fixed.grid, "true-transform"),
    )
    check_truth(truth, fixed.dim, alone)
    return truth


def inputs_of(chosen: Namespace, fixed: Image, moving: Image, truth: Truth, settings: Settings) -> Inputs:
    """Gather what is registered, the glands too where a rigid model or start asks for them."""
    masks = _labels(chosen.fixed_mask, "fixed-mask"), _labels(chosen.moving_mask, "moving-mask")
    return gather((fixed, moving), masks, truth, settings, _numbers(chosen.gland_labels))


def initial_of(text: str, fixed: Image, truth: Truth) -> tuple[Transform | None, tuple[StartKind, ...] | None]:
    """Read ``--init``: a start known before, and the steps that go on from it; None: as suits the model."""
    if text == "auto":
        return None, None
    first, *rest = [text] if Path(text).is_file() else text.split(",")
    for kind in rest:
        if kind not in START_KINDS:
            raise ValueError(f"init: expected one of {', '.join(START_KINDS)} after the comma, got {kind}")
    kinds = cast(tuple[StartKind, ...], tuple(rest))
    if first in START_KINDS:
        return None, (first, *kinds)
    if first == "landmarks":
        return landmark_start(truth), kinds or ("none",)
    if not Path(first).exists():
        words = ", ".join((*START_KINDS, "landmarks"))
        raise ValueError(f"init: expected {words} or a transform file, got {first}")
    return read_transform(first, fixed.grid, "init"), kinds or ("none",)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"gland-labels: expected numbers joined by commas, as in 1,2, got {text}") from None


def _labels(path: Path | None, name: str) -> Image | None:
    return None if path is None else read_labels(path, name)


def landmarks_of(path: Path, fixed: Image, name: str) -> Landmarks:
    """Read the points of option ``name``, refusing those of another dimension than the image."""
    landmarks = read_landmarks(path)
    if landmarks.points.shape[1] != fixed.dim:
        raise ValueError(f"{name}: expected {fixed.dim}D points like the image, got {landmarks.points.shape[1]}D")
    return landmarks
