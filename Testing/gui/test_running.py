"""How long it still takes, in words."""

from __future__ import annotations

import pytest


def test_too_early_to_say() -> None:
    from AttentionRegistrationLib.running import time_left_s

    assert time_left_s(0.5, 1.0) is None
    assert time_left_s(0.01, 10.0) is None


def test_the_rest_takes_as_long_as_its_share() -> None:
    from AttentionRegistrationLib.running import time_left_s

    assert time_left_s(0.25, 10.0) == pytest.approx(30.0)
    assert time_left_s(1.0, 10.0) == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "a few seconds"), (42, "about 40 s"), (88, "about 90 s"), (130, "about 2 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    from AttentionRegistrationLib.running import spoken

    assert spoken(seconds) == words
