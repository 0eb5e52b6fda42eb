"""Tiny rigid networks and cases to train on in no time."""

import pytest

from regcore.models import attention_reg

from ..organ_cases import organ_case


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The small networks for crops of 6 x 8 x 8; few starts to judge by."""
    monkeypatch.setattr(attention_reg, "_SMALL_SIZE", (6, 8, 8))
    monkeypatch.setattr("regcore.training.rigid_goal._STARTS", 3)


@pytest.fixture(scope="session")
def organ(awkward_grids):
    """One case on grids of two orientations."""
    return organ_case(awkward_grids["rotated"], awkward_grids["flipped"])
