"""`regcore models`: the networks there are."""

from __future__ import annotations

import json
import sys
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from regcore.models import create_model, list_models, model_info

HELP = "list the networks, or show one"


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(description="List the networks, or show what is known of one.")
    made.add_argument("action", type=Literal["list", "show"], nargs="?", default="list", help="list (default) or show")
    made.add_argument("name", type=str | None, nargs="?", default=None, help="the network to show")
    made.add_argument("--json", action="store_true", help="as JSON")
    return made


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    if chosen.action == "show":
        if chosen.name is None:
            raise ValueError(f"name: which network? There are {', '.join(list_models())}")
        known = _describe(chosen.name)
        lines = json.dumps(known, indent=2) if chosen.json else "\n".join(f"{k:12}{_text(v)}" for k, v in known.items())
        sys.stdout.write(lines + "\n")
        return
    rows = [_describe(name) for name in list_models()]
    if chosen.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.write(f"{'name':22}{'kind':12}{'dimensions':12}{'parameters':>12}  {'weights':10}paper\n")
    for row in rows:
        sys.stdout.write(
            f"{row['name']:22}{row['kind']:12}{_text(row['dimensions']):12}{row['parameters']:>12,}  "
            f"{_text(row['weights']):10}{row['paper']}\n"
        )


def _describe(name: str) -> dict[str, object]:
    info = model_info(name)
    return {
        "name": info.name,
        "kind": info.kind,
        "dimensions": list(info.dimensions),
        "parameters": sum(parameter.numel() for parameter in create_model(name).parameters()),
        "weights": None,
        "paper": info.paper,
        "spacing_mm": info.default_spacing_mm,
        "licence": info.licence,
    }


def _text(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(f"{v}D" for v in value) if isinstance(value, list) else str(value)
