"""Whether a pair is done already: its report says what it was made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from regcore import __version__
from regcore.cohort.table import Case
from regcore.settings import Settings
from regcore.weights import weight_files

REPORT, TRANSFORM = "report.json", "transform.h5"


def fingerprint(case: Case, settings: Settings, init: str, gland_labels: str) -> str:
    """Return a SHA-256 of all that decides a pair's result: its files' bytes, the settings, the weights, the version.

    Args:
        case: the pair.
        settings: of the registration.
        init: the initial transform asked for; a file counts by its bytes.
        gland_labels: which labels make up the gland.
    """
    chosen = asdict(settings) | {"weights": _weights(settings)}
    start = Path(init)
    parts = {
        "version": __version__,
        "settings": chosen,
        "init": _digest(start) if start.is_file() else init,
        "gland_labels": gland_labels,
        "still": case.still,
        "files": {column: _digest(path) for column, path in sorted(case.files.items())},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def finished(folder: Path, wanted: str) -> dict[str, Any] | None:
    """Return the report in a pair's ``folder`` if it is whole and has the fingerprint ``wanted``."""
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(report, dict) and report.get("fingerprint") == wanted and (folder / TRANSFORM).is_file()
    return report if whole else None


def _weights(settings: Settings) -> list[str]:
    return [_digest(path) for name in settings.networks for path in weight_files(name, settings.weights)]


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a DICOM folder with their names."""
    if path.is_dir():
        inside = sorted(found for found in path.iterdir() if found.is_file())
        listed = "".join(f"{found.name} {_digest(found)}\n" for found in inside)
        return hashlib.sha256(listed.encode()).hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path.name}: cannot be read: {error.strerror or error}") from error
