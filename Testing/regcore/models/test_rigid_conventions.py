"""What goes into and comes out of a rigid network: scaled intensities, and units that follow the crop."""

import pytest
import torch

from regcore.models.base import NOMINAL_SIDE_MM, Convention, RigidModel, normalised

SIZE = (3, 4, 5)
SIDE = torch.tensor([[32.0, 64.0, 96.0], [64.0, 64.0, 64.0]])


class Constant(RigidModel):
    """Says 1, 2, .., 6 and keeps what it was given."""

    def predict(self, fixed, moving):
        self.seen = fixed, moving
        return torch.arange(1.0, 7.0).expand(len(fixed), 6)


def crops():
    torch.manual_seed(0)
    return 3 + 7 * torch.rand(2, 1, *SIZE), 100 * torch.rand(2, 1, *SIZE)


def test_millimetres_are_what_the_network_says():
    found = Constant(SIZE, Convention("image", "crop", "each", "mm"))(*crops(), SIDE)
    assert found.tolist() == [[1, 2, 3, 4, 5, 6]] * 2


def test_parts_of_the_crop_become_millimetres_along_each_axis_and_degrees_stay():
    found = Constant(SIZE, Convention("image", "crop", "each", "crop"))(*crops(), SIDE)
    assert NOMINAL_SIDE_MM == 64
    torch.testing.assert_close(found, torch.tensor([[0.5, 2.0, 4.5, 4, 5, 6], [1.0, 2.0, 3.0, 4, 5, 6]]))


@pytest.mark.parametrize("normalise", ["joint", "each"])
def test_predict_is_given_normalised_crops(normalise):
    model = Constant(SIZE, Convention("image", "crop", normalise, "mm"))
    model(*crops(), SIDE)
    for seen, expected in zip(model.seen, normalised(*crops(), normalise), strict=True):
        assert torch.equal(seen, expected)


def test_joint_scaling_keeps_the_two_crops_in_proportion():
    fixed, moving = normalised(*crops(), "joint")
    for f, m, raw_f, raw_m in zip(fixed, moving, *crops(), strict=True):
        both, raw = torch.stack([f, m]), torch.stack([raw_f, raw_m])
        assert (both.min(), both.max()) == (0, 1)
        torch.testing.assert_close(both, (raw - raw.min()) / (raw.max() - raw.min()))


def test_separate_scaling_gives_mean_0_and_deviation_1():
    for crop in normalised(*crops(), "each"):
        for item in crop:
            assert item.mean().item() == pytest.approx(0, abs=1e-5)
            assert item.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)
    # Brightness and contrast of the scan are out of it.
    fixed, moving = crops()
    torch.testing.assert_close(normalised(5 * fixed - 2, moving, "each")[0], normalised(fixed, moving, "each")[0])


@pytest.mark.parametrize("how", ["joint", "each"])
def test_crops_of_one_value_become_0(how):
    same = torch.full((1, 1, *SIZE), 4.0)
    assert not normalised(same, same, how)[0].any()
