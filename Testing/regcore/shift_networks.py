"""Networks for tests that say one displacement (mm) everywhere, whatever they see, under names of their own."""

from __future__ import annotations

import torch
from torch import nn

from regcore.models import _registry
from regcore.models._registry import ModelInfo
from regcore.models.base import Prediction, RegistrationModel

SPACING = 1.5


class Shift(RegistrationModel):
    """Says ``by_mm`` along every axis of the array, in voxels of `SPACING`; counts the images it saw."""

    def __init__(self, dimensions, by_mm):
        super().__init__(dimensions, size_multiple=4)
        self.by = nn.Parameter(torch.tensor([float(v) / SPACING for v in by_mm]))
        self.layer = nn.Identity()
        self.shapes = []

    def predict(self, fixed, moving):
        self.shapes.append(tuple(fixed.shape))
        by = self.layer(self.by).view(1, -1, *[1] * self.dimensions)
        return Prediction(by.expand(len(fixed), -1, *fixed.shape[2:]).clone(), {})


def add_shift(monkeypatch, name, by_mm_of):
    """Register a network ``name`` for the duration of a test.

    Args:
        monkeypatch: of the test.
        name: of the model.
        by_mm_of: number of axes it can be made for -> displacement per array axis (mm).
    """
    info = ModelInfo(name, "deformable", tuple(sorted(by_mm_of)), "a test", SPACING, 4)
    made = []

    most = max(by_mm_of)

    def one(dimensions=most):
        made.append(Shift(dimensions, by_mm_of[dimensions]))
        return made[-1]

    if len(by_mm_of) == 1:
        (only,) = by_mm_of

        def build():
            return one(only)

    else:

        def build(dimensions=3):
            return one(dimensions)

    monkeypatch.setitem(_registry._ENTRIES, name, _registry._Entry(info, build))
    return made
