"""The shipped Attention-Reg networks on real MRI and ultrasound that they never learned from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore.crop import gland_crop
from regcore.data.misalignment import misalign
from regcore.data.rigid_cases import RigidCase, read_cases
from regcore.metrics.registration_error import sre
from regcore.models.base import RigidModel
from regcore.rigid import register_rigid
from regcore.transform import AffineTransform, RigidTransform
from regcore.weights import card, load_trained, weight_files

NAMES = ("attention-reg-small", "attention-reg-label-small")
STARTS = 5


@pytest.fixture(scope="module")
def cases(data_folder) -> list[RigidCase]:
    return read_cases(data_folder / "prostate", [f"case{number}" for number in range(16, 20)])


def wrong_starts(case: RigidCase) -> list[RigidTransform]:
    """Starts 2 to 18 mm off: a fixed point goes where the reference sends it after a perturbation's inverse."""
    centre = gland_crop(case.gland, (4, 4, 4)).centre
    surface = torch.as_tensor(case.surface - centre)[::7].expand(STARTS, -1, -1)
    wanted = torch.linspace(2, 18, STARTS)
    found = []
    for matrix in misalign(surface, wanted, torch.Generator().manual_seed(5)).matrix.numpy():
        here = np.eye(4)
        here[:3, 3] = centre
        whole = case.reference.homogeneous @ here @ np.linalg.inv(matrix) @ np.linalg.inv(here)
        about = AffineTransform.from_homogeneous(whole, centre)
        found.append(RigidTransform(about.matrix, about.translation, about.centre))
    return found


@pytest.mark.data
@pytest.mark.parametrize(("name", "most_mm"), [(NAMES[0], 4.6), (NAMES[1], 4.2)])
def test_two_stages_bring_unseen_cases_near_their_reference(cases, name, most_mm):
    networks = [network for network in load_trained(name).networks if isinstance(network, RigidModel)]
    assert len(networks) == 2
    before, after = [], []
    for case in cases:
        for start in wrong_starts(case):
            found = register_rigid(networks, case.fixed, case.moving, case.gland, start)
            before.append(sre(case.surface, start, case.reference))
            after.append(sre(case.surface, found.transform, case.reference))
    assert np.mean(before) == pytest.approx(10, abs=0.2)
    assert np.mean(after) < most_mm


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_model_has_its_files_and_a_card(name):
    assert len(weight_files(name)) == 2
    text = card(name)
    assert text is not None
    for heading in ("Data", "Training", "How good", "Limits", "Licence"):
        assert f"## {heading}" in text
