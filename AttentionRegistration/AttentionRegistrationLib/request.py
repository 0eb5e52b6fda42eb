"""What a registration is asked to do: nodes and choices, and the message to the worker they become."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

Node: TypeAlias = Any  # Slicer's node classes have no types


@dataclass(frozen=True)
class Outputs:
    """What to put into the scene besides the transform, the warped volume and the table.

    Attributes:
        inverse: the transform from moving to fixed points, with its measured error.
        jacobian: the map of local volume change.
        attention: where an attention model looked, as volumes.
        motion: in the report, how far a frame of a series has moved, and its labels; see `register_sequence`.
    """

    inverse: bool = False
    jacobian: bool = True
    attention: bool = False
    motion: bool = False


@dataclass(frozen=True)
class Request:
    """What a registration is asked to do; None leaves the choice to the engine.

    Attributes:
        fixed: scalar volume node; the results lie on its grid.
        moving: scalar volume node to bring onto it.
        fixed_mask: label map, scalar volume or segmentation node, above 0 where the fixed volume counts.
        moving_mask: likewise for the moving volume.
        fixed_mask_segment: identifier or name of the one segment that counts, of a segmentation; empty: all of them.
        moving_mask_segment: likewise.
        fixed_labels: label map or segmentation node, for Dice and distances, and the gland for rigid models.
        moving_labels: likewise; the segments of two segmentations are matched by name.
        fixed_labels_segment: identifier or name of the one segment that is meant, as label 1; empty: all of them.
        moving_labels_segment: likewise.
        fixed_landmarks: markups node with points in the fixed volume.
        moving_landmarks: the same points in the moving volume, in the same order.
        start: linear transform node that brings the moving volume near the fixed one, as when applied to it in Slicer.
        preset: name of a preset; then neither model nor stages.
        model: name of a model; ``none``: initial transform and refinement alone.
        stages: models and ``refine`` in the order they run.
        init: steps of the initial transform, as in ``("centre", "affine")``; ``("none",)``: go on from `start` alone.
        refine: iterations on the pair itself; 0: none.
        similarity: what refinement compares: ``auto``, ``lncc``, ``mind`` or ``mi``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        ensemble: runs of a rigid model from slightly different starts.
        slicewise: slice by slice, nothing moving between slices.
        seed: of whatever is random.
        outputs: what else is wanted.
    """

    fixed: Node
    moving: Node
    fixed_mask: Node = None
    moving_mask: Node = None
    fixed_mask_segment: str = ""
    moving_mask_segment: str = ""
    fixed_labels: Node = None
    moving_labels: Node = None
    fixed_labels_segment: str = ""
    moving_labels_segment: str = ""
    fixed_landmarks: Node = None
    moving_landmarks: Node = None
    start: Node = None
    preset: str | None = None
    model: str | None = None
    stages: tuple[str, ...] | None = None
    init: tuple[str, ...] | None = None
    refine: int | None = None
    similarity: str | None = None
    device: str = "auto"
    ensemble: int | None = None
    slicewise: bool | None = None
    seed: int | None = None
    outputs: Outputs = Outputs()

    def settings(self) -> dict[str, object]:
        """Return what was chosen, under the names of `regcore.settings.Settings`."""
        names = ("preset", "model", "stages", "init", "refine", "similarity", "ensemble", "slicewise", "seed")
        chosen = {name: getattr(self, name) for name in names}
        return {"device": self.device} | {name: value for name, value in chosen.items() if value is not None}


def message(
    identifier: str, folder: str, request: Request, volumes: dict[str, object], points: dict[str, object]
) -> dict[str, object]:
    """Return the worker's ``register`` message.

    Args:
        identifier: of this registration.
        folder: private folder that holds the arrays.
        request: what was asked.
        volumes: ``array``, ``spacing``, ``origin`` and ``direction`` by role, ``fixed`` and ``moving`` at least.
        points: landmarks by role, and ``start``; each in LPS mm.
    """
    roles = (
        "fixed_mask",
        "moving_mask",
        "fixed_labels",
        "moving_labels",
        "fixed_landmarks",
        "moving_landmarks",
        "start",
    )
    wanted = request.outputs
    return {
        "type": "register",
        "id": identifier,
        "folder": folder,
        **dict.fromkeys(roles),
        **volumes,
        **points,
        "settings": request.settings(),
        "outputs": asdict(wanted),
    }
