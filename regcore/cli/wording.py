"""Small readings and wordings that commands share."""

from __future__ import annotations

from pathlib import Path

from regcore.image import Image


def whole_numbers(text: str, name: str, example: str) -> list[int]:
    """Return the numbers of ``1,2,3``.

    Raises:
        ValueError: they are not whole numbers; ``name`` says which option, ``example`` how it is written.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{name}: expected whole numbers joined by commas, as in {example}, got {text}") from None


def described(path: Path, image: Image) -> dict[str, object]:
    """Return what a summary says of an image: a file's name, never its path, as folders may carry a patient's name."""
    return {
        "file": path.name,
        "size": list(image.grid.size),
        "spacing": [round(s, 6) for s in image.grid.spacing],
    }
