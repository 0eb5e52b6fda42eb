"""What a phantom consists of, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regcore.image import Image
from regcore.io import write_image, write_transform
from regcore.landmarks import Landmarks, write_landmarks
from regcore.transform import Transform


@dataclass(frozen=True, eq=False)
class Phantom:
    """A fixed and a moving image with everything known of them.

    Attributes:
        fixed: intensities, float32 holding whole numbers.
        moving: the same of the moving image, on its own grid.
        fixed_labels: structures, int64, 0 is background.
        moving_labels: the same structures in the moving image.
        fixed_landmarks: points at borders of structures (mm, LPS).
        moving_landmarks: where `truth` sends them.
        truth: maps fixed to moving points.
    """

    fixed: Image
    moving: Image
    fixed_labels: Image
    moving_labels: Image
    fixed_landmarks: Landmarks
    moving_landmarks: Landmarks
    truth: Transform


def write_phantom(phantom: Phantom, folder: str | Path) -> None:
    """Write images, labels, landmarks and ``truth.h5`` into ``folder``, which is made if absent.

    Raises:
        ValueError: the folder or a file cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output: cannot make the folder {folder}: {error.strerror}") from error
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        write_image(getattr(phantom, name), folder / f"{name}.nii.gz")
    write_landmarks(phantom.fixed_landmarks, folder / "fixed_landmarks.csv")
    write_landmarks(phantom.moving_landmarks, folder / "moving_landmarks.csv")
    write_transform(phantom.truth, folder / "truth.h5")
