"""The report of a session: what is in it, and what must not be."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib import session_report
from AttentionRegistrationLib.logic import Hello
from AttentionRegistrationLib.session import Session

from .sessions import Clock, PretendedLogic, prepared

HELLO = Hello("0.7", "2.13.0", [], "", [], [])
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that tags are closed, and keeps texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def session(scene: Any) -> Session:
    clock, logic = Clock(), PretendedLogic(scene)
    made = prepared(scene, logic, clock)
    for spread, sre in ((0.8, 2.25), (4.25, None)):
        made.register()
        logic.finish(spread_mm=spread, sre_mm={"after": sre} if sre else None, dsc={"after": {"1": 0.8}})
    made.accept(1)
    made.reject(2)
    return made


def written(session: Session, folder: Path) -> tuple[str, dict[str, Any]]:
    state = session.state
    assert state is not None
    page, data = session_report.write(folder, session_report.content(state, session.now(), HELLO))
    return page.read_text(encoding="utf-8"), json.loads(data.read_text(encoding="utf-8"))


def test_it_says_what_was_done(session: Session, tmp_path: Path) -> None:
    page, data = written(session, tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("mri*"))] == [
        "mri-trus-session-20260304-093005.html",
        "mri-trus-session-20260304-093005.json",
    ]
    assert data["engine"] == {"version": "0.7", "torch": "2.13.0"}
    assert data["accepted"] == 1
    assert data["inputs"]["targets"] == 1
    assert data["inputs"]["MRI"] == {"voxels": [5, 4, 3], "spacing in mm": [1.0, 1.0, 1.0]}
    first, second = data["history"]
    assert (first["spread_mm"], first["sre_mm"], first["dsc"], first["verdict"], first["sure"]) == (
        0.8,
        2.25,
        0.8,
        "accepted",
        True,
    )
    assert (second["sre_mm"], second["verdict"], second["sure"]) == (None, "rejected", False)
    parser = Page()
    parser.feed(page)
    assert parser.open == []
    said = " ".join(parser.texts)
    for part in ("Result 1 moves the targets.", "not sure", "a: 12ab (result 1, 2)", "engine 0.7, PyTorch 2.13.0"):
        assert part in said


def test_no_name_and_no_path_is_in_it(session: Session, tmp_path: Path, temporary: Path) -> None:
    page, data = written(session, tmp_path)
    for text in (page, json.dumps(data)):
        assert not any(part in text for part in ("DOE", "JANE", "1950", str(tmp_path), str(temporary), "secret"))
    assert "A note on &#x27;the ultrasound&#x27;." in page


def test_what_is_in_it_cannot_become_markup(session: Session, tmp_path: Path) -> None:
    state = session.state
    assert state is not None
    entries = state.entries
    entries[0].notes = ["<script>alert(1)</script>"]
    entries[0].facts = {"<b>": "\"'&"}
    state.entries = entries
    page, data = written(session, tmp_path)
    assert "<script>" not in page
    assert "<b>" not in page
    assert data["history"][0]["notes"] == ["<script>alert(1)</script>"]


def test_a_folder_that_cannot_be_written_leaves_nothing(session: Session, tmp_path: Path) -> None:
    state = session.state
    assert state is not None
    content = session_report.content(state, session.now())
    assert content["engine"] is None
    with pytest.raises(ValueError, match="cannot be written into this folder"):
        session_report.write(tmp_path / "missing", content)
    (tmp_path / "mri-trus-session-20260304-093005.html").mkdir()
    with pytest.raises(ValueError, match="cannot be written"):
        session_report.write(tmp_path, content)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
