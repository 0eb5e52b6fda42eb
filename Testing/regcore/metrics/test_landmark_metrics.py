"""Target registration error under known transforms."""

import numpy as np
import pytest

from regcore.metrics.landmarks import tre
from regcore.transform import AffineTransform, RigidTransform

POINTS = np.array([[0.0, 0, 0], [10, -4, 3], [-7, 20, 15]])


def test_error_before_is_the_length_of_the_shift():
    assert tre(POINTS, POINTS + np.array([3, 4, 0]), AffineTransform.identity(3)) == pytest.approx([5, 5, 5])


def test_the_true_transform_goes_from_fixed_to_moving():
    truth = RigidTransform.from_euler((10, -5, 30), (4, 1, -2), (1, 2, 3))
    assert tre(POINTS, truth(POINTS), truth) == pytest.approx([0, 0, 0], abs=1e-9)
    assert tre(POINTS, truth(POINTS), truth.inverse()).min() > 1


def test_unpaired_or_flat_points_are_refused():
    identity = AffineTransform.identity(3)
    with pytest.raises(ValueError, match="as many moving as fixed"):
        tre(POINTS, POINTS[:2], identity)
    with pytest.raises(ValueError, match=r"\(P, 3\)"):
        tre(POINTS[:, :2], POINTS[:, :2], identity)
    with pytest.raises(ValueError, match=r"\(P, 3\)"):
        tre(POINTS[:0], POINTS[:0], identity)


def test_points_that_are_no_numbers_are_refused():
    spoiled = POINTS.copy()
    spoiled[1, 2] = np.nan
    for pair in ((POINTS, spoiled), (spoiled, POINTS)):
        with pytest.raises(ValueError, match="landmarks: expected finite"):
            tre(*pair, AffineTransform.identity(3))
