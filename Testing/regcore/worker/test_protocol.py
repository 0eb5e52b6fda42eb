"""Messages: whatever comes in is a message or a refusal in one sentence, and what goes out is one line of JSON."""

from __future__ import annotations

import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regcore.worker.pipes import lines
from regcore.worker.protocol import Cancel, Error, Outputs, Ping, Refused, Register, Result, Shutdown, encode, parse

VOLUME = {
    "array": "fixed.npy",
    "spacing": [1, 2, 3.5],
    "origin": [0, -1, 2],
    "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1],
}
REGISTER = {"type": "register", "id": "7", "folder": "/", "fixed": VOLUME, "moving": VOLUME}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*VOLUME, "x"]), inner, max_size=4),
    max_leaves=12,
)


def parsed(content):
    return parse(json.dumps(content).encode())


def understood(content):
    """Return the message, or its refusal."""
    try:
        return parsed(content)
    except Refused as refused:
        return refused


def test_each_message_is_understood():
    assert parsed({"type": "ping"}) == Ping()
    assert parsed({"type": "shutdown"}) == Shutdown()
    assert parsed({"type": "cancel", "id": "7"}) == Cancel("7")
    points = [[0, 1, 2], [3, 4, 5]]
    start = [[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    more = {"fixed_labels": VOLUME, "moving_mask": None, "fixed_landmarks": points, "start": start}
    found = parsed(REGISTER | more | {"settings": {"refine": 3}, "outputs": {"inverse": True}})
    assert isinstance(found, Register)
    assert found.fixed.spacing == (1.0, 2.0, 3.5)
    assert found.fixed_labels == found.moving
    assert (found.moving_mask, found.moving_landmarks) == (None, None)
    assert found.fixed_landmarks == ((0.0, 1.0, 2.0), (3.0, 4.0, 5.0))
    assert found.start[0] == (1.0, 0.0, 0.0, 5.0)
    assert found.settings == {"refine": 3}
    assert found.outputs == Outputs(inverse=True)


@given(part=st.sampled_from([*Register.__dataclass_fields__, "type", "other"]), value=ANYTHING)
def test_a_request_with_any_part_changed_is_a_message_or_refused(part, value):
    answer = understood(REGISTER | {part: value})
    if isinstance(answer, Refused):
        assert answer.sentence.endswith(".")
        assert "\n" not in answer.sentence
        assert answer.code in ("bad_input", "protocol")
        assert answer.id in ("7", None, value)
    else:
        assert isinstance(answer, Register)


@given(st.binary(max_size=50))
def test_any_line_is_a_message_or_refused(line):
    with pytest.raises(Refused, match=r"line|type"):
        parse(line)


def test_numbers_that_json_does_not_know_become_null():
    line = encode(Error("7", "memory", "Größe", "a\nb"))
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"type": "error", "id": "7", "code": "memory", "sentence": "Größe", "details": "a\nb"}
    report = {"dsc": {"1": float("nan")}, "far": [float("inf"), 1.5], 3: ("a", None)}
    result = Result("7", {}, None, {}, None, [], report, [], 1.0, "cpu")
    assert json.loads(encode(result))["report"] == {"dsc": {"1": None}, "far": [None, 1.5], "3": ["a", None]}


def test_lines_are_whole_however_they_come():
    reading, writing = os.pipe()
    long = b"x" * (3 << 24)

    def write():
        for part in (b"one\ntw", b"o\n\nthree", b"\n", long, b"\nfour\nunfinished"):
            view = memoryview(part)
            while view:
                view = view[os.write(writing, view) :]
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    assert list(lines(reading)) == [b"one", b"two", b"", b"three", None, b"four"]
    thread.join()
    os.close(reading)
