"""Which trained models there are, asked of the package in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
OURS = PROJECT / ".venv" / "bin"


def leave_own_models_out(empty: Path) -> None:
    """Let this process and those it starts see the package's models alone, not those the user has imported.

    Args:
        empty: a folder for nothing; made if absent.
    """
    empty.mkdir(parents=True, exist_ok=True)
    os.environ["REGCORE_MODELS"] = str(empty)


def trained_models(kind: str) -> list[dict[str, Any]]:
    """Return what `regcore models` knows of the 3D models of a kind that have weights.

    Args:
        kind: ``deformable`` or ``rigid``.
    """
    listed = _asked("list", "--json")
    return [row for row in listed if row["weights"] and not row["problem"] and row["kind"] == kind and _is_3d(row)]


def weights_of(name: str) -> dict[str, str]:
    """Return the SHA-256 of each weights file of a model."""
    return {file["file"]: file["sha256"] for file in _asked("show", name, "--json")["files"]}


def _is_3d(row: dict[str, Any]) -> bool:
    return 3 in row["dimensions"]


def _asked(*words: str) -> Any:
    done = subprocess.run([OURS / "regcore", "models", *words], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
