"""How two volumes are brought together before a network or refinement looks at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from regcore.affine import initial_transform
from regcore.gland_alignment import align_glands
from regcore.preprocess import Inputs
from regcore.progress import CancelCheck
from regcore.rigid_step import organ_start
from regcore.transform import AffineTransform, Transform

StartKind = Literal["none", "centre", "moments", "rigid", "affine", "organ", "labels"]

START_KINDS: tuple[StartKind, ...] = get_args(StartKind)
_ANYWHERE = ("centre", "moments", "organ", "labels")  # bring together what shares no space


def usual_start(inputs: Inputs, rigid: bool) -> tuple[StartKind, ...]:
    """Return the steps that suit a pair when the user names none.

    Args:
        inputs: as given.
        rigid: for a rigid network, else for a deformable one or none.
    """
    if not rigid:
        return ("affine",)
    if inputs.fixed_gland is not None:
        return ("organ",)
    return ("none",) if inputs.fixed.grid.overlaps(inputs.moving.grid) else ("centre",)


def needs_overlap(kinds: Sequence[StartKind], start: Transform | None) -> bool:
    """Whether the volumes must share space as they lie."""
    return start is None and kinds[0] not in _ANYWHERE


def bring_together(
    inputs: Inputs,
    kinds: Sequence[StartKind],
    start: Transform | None,
    report: Callable[[float, str], None],
    cancelled: CancelCheck,
) -> tuple[Transform, list[str]]:
    """Return the initial transform, fixed to moving points, one step going on from the other, and what to know of it.

    Args:
        inputs: the pair; ``organ`` needs the fixed gland, ``labels`` both.
        kinds: the steps; see `StartKind` and `initial_transform`.
        start: what is known before.
        report: told the fraction done and a message.
        cancelled: asked now and then.

    Raises:
        ValueError: a step that cannot be done with this pair, in one sentence.
    """
    warnings: list[str] = []
    for number, kind in enumerate(kinds):

        def share(fraction: float, message: str, number: int = number) -> None:
            report((number + fraction) / len(kinds), message)

        start, sentences = _step(inputs, kind, start, share, cancelled)
        warnings += sentences
    assert start is not None
    return start, warnings


def _step(
    inputs: Inputs,
    kind: StartKind,
    start: Transform | None,
    report: Callable[[float, str], None],
    cancelled: CancelCheck,
) -> tuple[Transform, Sequence[str]]:
    if kind == "organ":
        if inputs.fixed_gland is None:
            raise ValueError("init: organ needs --fixed-labels with the gland as label 1")
        return organ_start(inputs.fixed_gland, inputs.moving), []
    if kind == "labels":
        if inputs.fixed_gland is None or inputs.moving_gland is None:
            raise ValueError("init: labels needs --fixed-labels and --moving-labels with the gland as label 1")
        known = start if isinstance(start, AffineTransform) else None
        aligned = align_glands(inputs.fixed_gland, inputs.moving_gland, start=known, cancelled=cancelled)
        return aligned.transform, aligned.warnings
    found = initial_transform(
        inputs.fixed,
        inputs.moving,
        kind,
        start=start,
        fixed_mask=inputs.fixed_mask,
        moving_mask=inputs.moving_mask,
        progress=report,
        cancelled=cancelled,
    )
    return found, []
