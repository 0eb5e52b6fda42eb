"""From a registration's outcome to its line in the session's history. No names of nodes and no paths go into it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from AttentionRegistrationLib.results import Outcome
from AttentionRegistrationLib.session_state import ROLES, Entry, Nodes, State

_TITLES = {
    "mri": "the MRI",
    "trus": "the ultrasound",
    "gland": "the gland in the MRI",
    "trus_gland": "the gland in the ultrasound",
    "targets": "the targets",
    "model": "the model",
}
_SETTINGS = ("preset", "model", "stages", "init", "refine", "similarity", "metric", "ensemble", "passes", "seed")
# As names of nodes they tell nothing, and sentences contain them.
_PLAIN = {"mri", "trus", "us", "ultrasound", "gland", "prostate", "targets", "image", "volume", "fixed", "moving"}
OUTDATED = "The gland in the ultrasound was outlined before the image changed, so it was not used."


def entry_of(number: int, outcome: Outcome, state: State, seconds: float, at: datetime) -> Entry:
    """Return what is remembered of an outcome.

    Args:
        number: in the history.
        outcome: of the registration.
        state: of the session.
        seconds: from the change to the nodes.
        at: when it ended.
    """
    report = outcome.report
    return Entry(
        number,
        at.isoformat(timespec="seconds"),
        round(seconds, 3),
        round(outcome.seconds, 3),
        _number(report.get("spread_mm")),
        _number((report.get("sre_mm") or {}).get("after")),
        _number(((report.get("dsc") or {}).get("after") or {}).get("1")),
        notes=[without_names(note, state) for note in outcome.notes],
        facts={
            "device": outcome.device,
            "engine": report.get("version"),
            "model": report.get("network") or report.get("model"),
            "weights": report.get("weights") or {},
            "settings": {name: value for name, value in (report.get("settings") or {}).items() if name in _SETTINGS},
        },
    )


def nodes_of(outcome: Outcome) -> Nodes:
    """Return the nodes of an outcome; the way back is what carries targets from the MRI into the ultrasound's space."""
    others = (outcome.transform, outcome.inverse, outcome.warped, outcome.jacobian, outcome.table, outcome.record)
    everything = tuple(node for node in (*others, *outcome.attention) if node is not None)
    return Nodes(outcome.inverse, outcome.warped, outcome.attention, everything)


def without_names(text: str, state: State) -> str:
    """Put roles in the place of the names of nodes, which may be those of patients."""
    named: dict[str, str] = {}
    for role in ROLES:
        node = state.get(role)
        while node is not None:
            named.setdefault(node.GetName() or "", _TITLES[role] if node is state.get(role) else "a transform")
            node = node.GetParentTransformNode() if node.IsA("vtkMRMLTransformableNode") else None
    for name in sorted(named, key=len, reverse=True):
        if len(name) > 1 and name.lower() not in _PLAIN:
            text = text.replace(name, named[name])
    return text


def _number(value: Any) -> float | None:
    return round(float(value), 4) if isinstance(value, int | float) else None
