import sys
import threading
from contextlib import contextmanager, suppress

import pytest
import torch
from torch import nn

from regcore.models import create_model
from regcore.progress import Cancelled
from regcore.stages import Stages
from regcore.watch import asking, watched


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


def test_work_without_a_question_of_its_own_is_stopped_and_leaves_nothing_half_done():
    closed = []

    class Context:
        def __enter__(self):
            len(closed)
            return self

        def __exit__(self, *_):
            closed.append("leaving")
            closed.append("left")

    stop = threading.Event()

    def work():
        for rounds in range(10):
            with Context(), torch.inference_mode():
                if rounds == 4:
                    stop.set()
                torch.ones(3).sum()

    with pytest.raises(Cancelled), asking(stop.is_set):
        work()
    assert closed.count("left") == 5
    assert not torch.is_inference_mode_enabled()
    assert sys.getprofile() is None


def test_entering_and_leaving_a_context_is_never_cut_short():
    steps = []

    @contextmanager
    def context():
        steps.append("made")
        try:
            yield
        finally:
            steps.append("taken down")
            steps.sort()

    stop = threading.Event()
    for place in range(40):
        stop.clear()
        del steps[:]
        questions = iter(range(10_000))

        def asked(questions=questions, place=place):
            return next(questions) >= place

        with suppress(Cancelled), asking(asked), context():
            torch.zeros(2).sum()
        assert steps in ([], ["made", "taken down"])


def test_asking_leaves_a_profiler_alone():
    def profiler(*_):
        return None

    sys.setprofile(profiler)
    try:
        with asking(lambda: True):
            torch.zeros(2).sum()
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)


def test_what_is_not_stopped_is_not_changed():
    model, pair = create_model("pan", channels=1).eval(), torch.rand(2, 1, 1, 16, 16, 16)
    with torch.inference_mode():
        before = model(*pair).displacement
        with asking(lambda: False):
            assert torch.equal(model(*pair).displacement, before)


def test_nobody_asks_while_the_question_is_being_answered():
    lock = threading.Lock()

    def answer():
        return False

    def cancelled():
        assert lock.acquire(blocking=False), "asked within its own answer"
        try:
            return answer()
        finally:
            lock.release()

    stages = Stages({"work": 1.0}, None, cancelled)
    with stages.stage("work"), asking(stages.asked_to_stop):
        for _ in range(10):
            assert not stages.asked_to_stop()
