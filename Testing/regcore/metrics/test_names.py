"""Each column's direction, by making a good result worse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcore import metrics
from regcore.metrics import COLUMNS
from regcore.ops.fields import jacobian_determinant
from regcore.transform import AffineTransform


def _figures(error: float) -> dict[str, float]:
    """Return all figures of a result that is wrong by ``error`` (0 to 1)."""
    generator = torch.Generator().manual_seed(0)
    fixed, noise = torch.rand(2, 16, 16, 16, generator=generator)
    warped = (1 - error) * fixed + error * noise
    labels, moved = torch.zeros(2, 16, 16, 16, dtype=torch.int64)
    labels[4:12, 4:12, 4:12] = 1
    moved[4:12, 4:12, 4 + round(4 * error) : 12] = 1
    if error:
        moved[7, :, :] = 0
    distances = metrics.surface_distances(labels, moved, (1.0, 1.0, 1.0))
    displacement = 4 * error * (noise - 0.5).expand(3, 16, 16, 16)
    determinant, folds = jacobian_determinant(displacement[None]), metrics.folding(displacement)
    change = metrics.topology_change(labels, moved)
    points = np.eye(3)
    shift = AffineTransform.of(np.eye(3), [error, 0, 0])
    return {
        "dsc": metrics.dsc(labels, moved)[1],
        "hd95": distances.hd95[1],
        "assd": distances.assd[1],
        "tre": float(metrics.tre(points, points, shift).mean()),
        "sre": metrics.sre(points, shift, AffineTransform.identity(3)),
        "sdlogj": metrics.sdlogj(determinant),
        "folding_percent": metrics.folding_percent(determinant),
        "folding_percent_strict": folds.central_strict,
        "folding_percent_forward": folds.forward,
        "folding_percent_forward_strict": folds.forward_strict,
        "ncc": metrics.ncc(fixed, warped),
        "nmi": metrics.nmi(fixed, warped),
        "ssim": metrics.ssim(fixed, warped),
        "uiqi": metrics.uiqi(fixed, warped),
        "tc_euler": change.euler,
        "tc_components": change.components,
    }


def test_every_figure_has_a_column_that_knows_what_is_better():
    good, bad = _figures(0.0), _figures(0.8)
    assert set(COLUMNS) == set(good)
    for name, column in COLUMNS.items():
        assert (good[name] > bad[name]) == column.higher_is_better, name
        assert good[name] != bad[name]


def test_titles_differ_and_distances_have_a_unit():
    assert len({column.title for column in COLUMNS.values()}) == len(COLUMNS)
    assert all(COLUMNS[name].title.endswith("[mm]") for name in ("hd95", "assd", "tre", "sre"))


@pytest.mark.parametrize("name", metrics.__all__)
def test_every_public_name_is_there(name):
    assert getattr(metrics, name) is not None
