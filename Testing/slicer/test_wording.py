"""No sentence of the engine names an option of the command line once it is in the panel's words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib.events import refusal
from AttentionRegistrationLib.wording import in_panel

ENGINE = Path(__file__).resolve().parents[2] / "regcore"
ELSEWHERE = ("cli", "training", "cohort", "weights/_importing.py")  # never run by the worker
OPTION = re.compile(r"(?<![\w-])--[a-z]")


def text_of(node: ast.AST) -> str | None:
    """Return a text in the code, whatever is put into it being ``something``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_inner(part) for part in node.values)
    return None


def _inner(part: ast.expr) -> str:
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.IfExp):
        return text_of(part.value.body) or "something"
    return text_of(part) or "something"


def sentences() -> list[str]:
    """Return the texts of the engine that name an option."""
    found = []
    for path in sorted(ENGINE.rglob("*.py")):
        if path.relative_to(ENGINE).as_posix().startswith(ELSEWHERE):
            continue
        texts = {text for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if (text := text_of(node))}
        # Pieces of a longer text are found once more by themselves.
        found += [text for text in texts if " " in text.strip("- ") and OPTION.search(text)]
    return [text for text in found if not any(text != other and text in other for other in found)]


def test_there_are_such_sentences() -> None:
    assert len(sentences()) >= 8


@pytest.mark.parametrize("sentence", sentences())
def test_no_option_is_left(sentence: str) -> None:
    assert not OPTION.search(in_panel(sentence)), in_panel(sentence)


def test_presets_are_described_for_everybody() -> None:
    paths = sorted((ENGINE.parent / "Resources" / "presets").glob("*.json"))
    assert paths
    assert not [path.name for path in paths if OPTION.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (
            "init: labels needs --fixed-labels and --moving-labels with the gland as label 1",
            "initial transform: labels needs fixed segments and moving segments with the gland as label 1",
        ),
        (
            "moving: the volumes do not overlap in space; make sure they belong together, then use "
            "--init centre,affine to bring them together first",
            "moving: the volumes do not overlap in space; make sure they belong together, then choose "
            "'Centres together, then affine' as initial transform to bring them together first",
        ),
        ("fixed_mask: the mask is empty", "fixed mask: the mask is empty"),
        ("The registration was cancelled.", "The registration was cancelled."),
    ],
)
def test_sentences(said: str, seen: str) -> None:
    assert in_panel(said) == seen
    assert refusal({"sentence": said, "code": "bad_input"}).sentence == seen
