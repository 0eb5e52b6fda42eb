"""The engine's sentences in the panel's words: by themselves they name options of the command line."""

from __future__ import annotations

import re

# In this order. Underscores and hyphens in the names of roles mean the same.
_WORDS = (
    (r"use --init centre,affine to", "choose 'Centres together, then affine' as initial transform to"),
    (r"start with --init centre,affine,", "choose 'Centres together, then affine' as initial transform,"),
    (r"pass another one with --init", "choose another initial transform"),
    (r"try another --init\b", "try another initial transform"),
    (r"leave --init out\b", "leave the initial transform to the preset"),
    (r"pass --init \w+", "choose it as initial transform"),
    (r", or name others with --gland-labels", ""),
    (r"--slicewise( false)?", "slicewise"),
    (r"^init:", "initial transform:"),
    (r"(?:--)?\bfixed[-_]labels\b", "fixed segments"),
    (r"(?:--)?\bmoving[-_]labels\b", "moving segments"),
    (r"(?:--)?\bfixed[-_]landmarks\b", "fixed points"),
    (r"(?:--)?\bmoving[-_]landmarks\b", "moving points"),
    (r"\bfixed[-_]mask\b", "fixed mask"),
    (r"\bmoving[-_]mask\b", "moving mask"),
)


def in_panel(sentence: str) -> str:
    """Return a sentence of the engine as somebody who sees the panel understands it."""
    for pattern, words in _WORDS:
        sentence = re.sub(pattern, words, sentence)
    return sentence
