from __future__ import annotations

import pytest

import regcore.losses
from regcore.losses import LNCC, Loss, create_loss, list_losses


def test_names_are_those_of_functions() -> None:
    assert list_losses() == sorted(list_losses())
    for name in list_losses():
        assert callable(getattr(regcore.losses, name))
        assert isinstance(create_loss(name), Loss)
        assert not list(create_loss(name).parameters())


def test_options_arrive_and_are_shown() -> None:
    loss = create_loss("lncc", window=7)
    assert isinstance(loss, LNCC)
    assert repr(loss) == "LNCC(window=7, eps=1e-05)"
    assert repr(create_loss("mse")) == "MSE()"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("lnc", "lncc"), ("LNCC", "lncc"), ("bending-energy", "bending_energy"), ("dice", "soft_dice")],
)
def test_wrong_name_brings_the_nearest_right_one(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        create_loss(name)


def test_wrong_option_is_refused() -> None:
    with pytest.raises(ValueError, match="'lncc' has no option width; it has window, eps"):
        create_loss("lncc", width=7)
    with pytest.raises(ValueError, match="'mse' has no option width; it has none"):
        create_loss("mse", width=7)
