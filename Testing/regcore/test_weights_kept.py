"""What a long-lived process keeps of model files."""

from __future__ import annotations

import os

import pytest

from regcore.weights import _kept, forget_models, keep_models, load_trained


@pytest.fixture
def keeping(monkeypatch):
    monkeypatch.setattr(_kept, "_held", None)
    keep_models()


def test_usually_every_call_reads():
    first, second = (load_trained("attention-reg-small") for _ in range(2))
    assert first.networks[0] is not second.networks[0]


def test_what_was_read_is_kept_until_it_is_let_go(keeping):
    first = load_trained("attention-reg-small")
    assert load_trained("attention-reg-small").networks[0] is first.networks[0]
    assert load_trained("attention-reg").networks[0] is first.networks[0]  # the stand-in
    keep_models()
    assert load_trained("attention-reg-small").networks[0] is first.networks[0]
    forget_models()
    assert load_trained("attention-reg-small").networks[0] is not first.networks[0]


def test_a_changed_file_is_read_again(keeping, tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    assert _kept.kept("text", [path], path.read_text) == "one"
    state = path.stat()
    path.write_text("two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert _kept.kept("text", [path], path.read_text) == "one"
    assert _kept.kept("its length", [path], lambda: len(path.read_text())) == 3
    os.utime(path, ns=(0, 0))
    assert _kept.kept("text", [path], path.read_text) == "two"
