"""The trainings on handwritten digits: AiR in the paper's size, a larger one, and a U-Net under the same loss."""

from __future__ import annotations

from plan import Run

# Half the batch: so its training takes as long as that of AiR in the paper's size.
_UNET = ("--model.name", "unet", "--model.options", '{"dimensions": 2, "width": 8}', "--run.batch", "32")

# Shipped as these; the last digits are held out, and no weights or options are chosen by them.
WEIGHTS = {"paper": "air-digits", "large": "air-digits-large", "unet": "air-digits-unet"}

RUNS = (
    Run("air", "paper", 1, "air_digits"),
    Run("air", "large", 1, "air_digits_large"),
    Run("air", "unet", 1, "air_digits", _UNET),
)
