import pytest
import torch
from torch import nn

from regcore.models import create_model
from regcore.progress import Cancelled
from regcore.watch import watched


def test_every_layer_is_told_and_the_fraction_rises():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))
    told = []
    with watched(model, lambda fraction, message: told.append((fraction, message)), "network"):
        model(torch.zeros(1, 2))
        model(torch.zeros(1, 2))
    model(torch.zeros(1, 2))
    assert [fraction for fraction, _ in told] == pytest.approx([n / (n + 3) for n in range(6)])
    assert {message for _, message in told} == {"network"}


def test_a_network_can_be_stopped_and_used_again():
    model = create_model("pan", channels=1).eval()
    pair = torch.rand(2, 1, 1, 16, 16, 16)
    calls = 0

    def stop(fraction, message):
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Cancelled

    with torch.no_grad():
        before = model(*pair).displacement
        with pytest.raises(Cancelled), watched(model, stop, ""):
            model(*pair)
        assert calls == 5
        assert torch.equal(model(*pair).displacement, before)
    assert calls == 5
