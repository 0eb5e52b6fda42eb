"""Ways in which a model file goes bad, and what is said of it."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)


def edited(path: Path, **changes: str) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    save_file(load_file(path), path, metadata | (changes or {"metrics": '{"dsc": 0.99}'}))


def newer(path: Path) -> None:
    edited(path, format_version="3")


SPOILT = [(truncated, "damaged"), (flipped, "damaged or edited"), (edited, "damaged or edited"), (newer, "newer than")]
