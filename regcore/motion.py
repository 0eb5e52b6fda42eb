"""What moved between the reference of a series and one of its frames, and what became of the reference's labels."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as made_by

import numpy as np
import torch
from torch import Tensor

from regcore.field import DisplacementField
from regcore.grid import Grid
from regcore.image import Image
from regcore.inverse import invert
from regcore.pipeline import Registration
from regcore.slices import Stack
from regcore.warp import warp


@dataclass(frozen=True)
class LabelMotion:
    """One label in one frame; its size is an area (mm2), or in a stack of slices a volume (mm3).

    Attributes:
        size: in the frame.
        reference: in the reference.
        mean_mm: mean length of the displacement of its points.
    """

    size: float
    reference: float
    mean_mm: float

    @property
    def change_percent(self) -> float:
        """How much larger the label is than in the reference."""
        return 100 * (self.size / self.reference - 1)


@dataclass(frozen=True)
class Motion:
    """One frame against the reference; of slices that are thick, or registered one by one, motion within them counts.

    Attributes:
        mean_mm: mean length of the displacement over the reference.
        max_mm: the largest.
        labels: by number.
        carried: the reference's labels as they lie in the frame; None: there are none.
    """

    mean_mm: float
    max_mm: float
    labels: dict[int, LabelMotion] = made_by(default_factory=dict)
    carried: Image | None = None

    @property
    def figures(self) -> dict[str, object]:
        """The numbers by name, as they are written to files and sent to Slicer."""
        size, unit = ("area", "mm2") if self.carried is None or self.carried.dim == 2 else ("volume", "mm3")
        labels = {
            str(number): {
                f"{size}_{unit}": round(label.size, 3),
                f"reference_{unit}": round(label.reference, 3),
                "change_percent": round(label.change_percent, 3),
                "mean_mm": round(label.mean_mm, 4),
            }
            for number, label in self.labels.items()
        }
        return {"mean_mm": round(self.mean_mm, 4), "max_mm": round(self.max_mm, 4), "labels": labels}


def motion_of(result: Registration, frame: Grid, labels: Image | None = None) -> Motion:
    """Measure what a registration of a frame (moving) to the reference (fixed) found.

    Args:
        result: its transform maps points of the reference to points of the frame.
        frame: grid of the frame.
        labels: label map of the reference, on its grid; 0 is background.

    Raises:
        ValueError: the labels lie on another grid, or there is no label.
    """
    length = _length(result.field, result.slicewise)
    mean, largest = float(length.mean()), float(length.max())
    if labels is None:
        return Motion(mean, largest)
    check_labels(labels, result.field.grid)
    # A point of the reference goes with the transform; what lies at a point of the frame is asked the way back.
    back = (result.inverse or invert(result.transform, labels.grid)).transform.displacement_on(frame)
    found = {}
    for number in torch.unique(labels.data[labels.data > 0]).tolist():
        inside = labels.data == number
        share = warp(labels.with_data(inside.float(), "float32"), back, frame).data
        size, reference = (float(part.sum()) * _voxel(grid) for part, grid in ((share, frame), (inside, labels.grid)))
        found[int(number)] = LabelMotion(size, reference, float(length[inside].mean()))
    return Motion(mean, largest, found, warp(labels, back, frame, "label"))


def check_labels(labels: Image, reference: Grid) -> None:
    """Refuse labels that cannot be carried from a reference frame.

    Raises:
        ValueError: they lie on another grid, or there is no label.
    """
    if labels.dim != reference.dim or not labels.grid.same_as(reference):
        raise ValueError(
            f"labels: expected the grid of the reference frame, size {reference.size} and its place, "
            f"got size {labels.grid.size}; draw them on that frame"
        )
    if not bool((labels.data > 0).any()):
        raise ValueError("labels: there is no label above 0 in the reference frame; draw one, or leave them out")


def _length(field: DisplacementField, slicewise: bool) -> Tensor:
    """Return the length (mm) of the displacement, within slices where there are any, ``(*shape)``."""
    vectors = field.data
    stack = Stack.of(field.grid) if field.grid.dim == 3 else None
    if stack is not None and (slicewise or stack.thick):
        across = 2 - stack.axis  # of the grid's (i, j, k)
        within = torch.as_tensor(np.delete(field.grid.axes, across, axis=1).T).to(vectors)
        vectors = (within @ vectors.reshape(3, -1)).reshape(2, *field.grid.shape)
    return vectors.square().sum(0).sqrt()


def _voxel(grid: Grid) -> float:
    return float(np.prod(grid.spacing))
