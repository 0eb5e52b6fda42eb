"""The report of a session as HTML and JSON: what was registered when, how sure, and what was decided.

It names roles, MRI and ultrasound, never nodes, which often bear patients' names, nor folders.
"""

from __future__ import annotations

import html
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from AttentionRegistrationLib.request import Node
from AttentionRegistrationLib.session_state import GLAND, MRI, SURE_MM, TARGETS, TRUS, TRUS_GLAND, Entry, State

_STYLE = (
    "body{font:14px/1.45 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1c1c1c}"
    "h1{font-size:1.5em}h2{font-size:1.15em;margin-top:1.6em}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3em .6em;border-bottom:1px solid #d8d8d8;"
    "vertical-align:top;overflow-wrap:anywhere}th{font-weight:600}.accepted{background:#e7f4e8}.rejected{color:#777}"
)
_UNKNOWN = "\N{EN DASH}"
_HEAD = (
    "No.",
    "Ended at",
    "Seconds",
    "Engine, s",
    "Surface error, mm",
    "Overlap (Dice)",
    "Spread, mm",
    "Sure",
    "Verdict",
)


def content(state: State, now: datetime, hello: Any = None) -> dict[str, Any]:
    """Return what the report says, fit for JSON.

    Args:
        state: of the session.
        now: local time.
        hello: what the engine said of itself; None: it has not run.
    """
    entries = state.entries
    return {
        "title": "MRI-TRUS session",
        "written": now.isoformat(timespec="seconds"),
        "engine": None if hello is None else {"version": hello.version, "torch": hello.torch},
        "inputs": {
            "MRI": _volume(state.get(MRI)),
            "ultrasound": _volume(state.get(TRUS)),
            "gland in the MRI": state.get(GLAND) is not None,
            "gland in the ultrasound": state.get(TRUS_GLAND) is not None,
            "targets": state.get(TARGETS).GetNumberOfControlPoints() if state.get(TARGETS) else 0,
        },
        "registered again by itself": state.automatic,
        "sure up to a spread of mm": SURE_MM,
        "accepted": state.order[-1] if state.order else None,
        "history": [asdict(entry) | {"sure": entry.sure} for entry in entries],
    }


def write(folder: Path, report: dict[str, Any]) -> tuple[Path, Path]:
    """Write a report, as whole files or none, and return the HTML and the JSON file.

    Args:
        folder: where to; it must exist.
        report: see `content`.

    Raises:
        ValueError: they cannot be written.
    """
    stamp = report["written"].replace("-", "").replace(":", "").replace("T", "-")
    page, data = (folder / f"mri-trus-session-{stamp}.{kind}" for kind in ("html", "json"))
    try:
        _put(data, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        _put(page, as_html(report))
    except OSError as error:
        raise ValueError(
            f"The report cannot be written into this folder ({error.strerror or error}); choose another."
        ) from error
    return page, data


def as_html(report: dict[str, Any]) -> str:
    """Return the report as a page that needs nothing else."""
    history = [Entry(**{name: value for name, value in line.items() if name != "sure"}) for line in report["history"]]
    accepted = report["accepted"]
    verdict = f"Result {accepted} moves the targets." if accepted is not None else "No result is accepted."
    unsure = f"Sure: the runs of the ensemble lie at most {report['sure up to a spread of mm']:g} mm apart."
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{_safe(report['title'])}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{_safe(report['title'])}</h1>",
            f"<p>Written {_safe(report['written'])}. {_safe(verdict)} For research, not for clinical use.</p>",
            "<h2>Inputs</h2>",
            _table(("", ""), report["inputs"].items()),
            "<h2>History</h2>",
            _table(_HEAD, [_row(entry) for entry in history], [entry.verdict for entry in history]),
            f"<p>{_safe(unsure)} Without a gland in the ultrasound there is no error and no overlap.</p>",
            *_notes(history),
            "<h2>Engine</h2>",
            _table(("", ""), _engine(report, history)),
            "</body></html>\n",
        ]
    )


def words(sure: bool | None) -> str:
    """Say how sure a result is."""
    return {True: "sure", False: "not sure", None: "not known"}[sure]


def _row(entry: Entry) -> tuple[str, ...]:
    verdict = entry.verdict or "open"
    return (
        str(entry.number),
        entry.at.replace("T", " "),
        f"{entry.seconds:.2f}",
        f"{entry.engine_seconds:.2f}",
        _figure(entry.sre_mm, 1),
        _figure(entry.dsc, 2),
        _figure(entry.spread_mm, 1),
        words(entry.sure),
        f"{verdict}; the ultrasound changed meanwhile" if entry.late else verdict,
    )


def _notes(history: Sequence[Entry]) -> list[str]:
    said: dict[str, list[str]] = {}
    for entry in history:
        for note in entry.notes:
            said.setdefault(note, []).append(str(entry.number))
    lines = [f"<li>{_safe(note)} (result {', '.join(numbers)})</li>" for note, numbers in said.items()]
    return ["<h2>Notes</h2><ul>", *lines, "</ul>"] if lines else []


def _engine(report: dict[str, Any], history: Sequence[Entry]) -> Iterable[tuple[str, Any]]:
    rows: dict[tuple[str, str], list[str]] = {}
    for entry in history:
        for name, value in entry.facts.items():
            rows.setdefault((name, _plain(value)), []).append(str(entry.number))
    engine = report["engine"]
    return [
        *([("last used", f"engine {engine['version']}, PyTorch {engine['torch']}")] if engine else []),
        *((name, f"{value} (result {', '.join(numbers)})") for (name, value), numbers in rows.items()),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], kinds: Sequence[str] = ()) -> str:
    lines = ["<table>"]
    if any(head):
        lines.append("<tr>" + "".join(f"<th>{_safe(name)}</th>" for name in head) + "</tr>")
    for number, row in enumerate(rows):
        kind = f' class="{_safe(kinds[number])}"' if kinds and kinds[number] else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{_safe(_plain(cell))}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return "\N{MULTIPLICATION SIGN}".join(_plain(inner) for inner in value)
    return _UNKNOWN if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _figure(value: float | None, digits: int) -> str:
    return _UNKNOWN if value is None else f"{value:.{digits}f}"


def _volume(volume: Node) -> dict[str, Any] | None:
    if volume is None or volume.GetImageData() is None:
        return None
    size = list(volume.GetImageData().GetDimensions())
    return {"voxels": size, "spacing in mm": [round(float(side), 4) for side in volume.GetSpacing()]}


def _safe(text: str) -> str:
    return html.escape(text, quote=True)


def _put(path: Path, text: str) -> None:
    """Write beside it, then rename."""
    handle, name = tempfile.mkstemp(prefix=".mri-trus-session-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
