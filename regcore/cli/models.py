"""`regcore models`: the networks there are."""

from __future__ import annotations

import json
import sys
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from regcore.models import create_model, list_models, model_info
from regcore.weights import card, stand_in, weight_files

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
        if chosen.json:
            sys.stdout.write(json.dumps(known | {"card": card(chosen.name)}, indent=2) + "\n")
            return
        sys.stdout.write("".join(f"{key:12}{_text(value)}\n" for key, value in known.items()))
        text = card(stand_in(chosen.name) or chosen.name)
        sys.stdout.write(f"\n{text}" if text else "")
        return
    rows = [_describe(name) for name in list_models()]
    if chosen.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.write(f"{'name':27}{'kind':12}{'dimensions':12}{'parameters':>12}  {'weights':36}paper\n")
    for row in rows:
        sys.stdout.write(
            f"{row['name']:27}{row['kind']:12}{_text(row['dimensions']):12}{row['parameters']:>12,}  "
            f"{_trained(row):36}{row['paper']}\n"
        )


def _describe(name: str) -> dict[str, object]:
    info = model_info(name)
    return {
        "name": info.name,
        "kind": info.kind,
        "dimensions": list(info.dimensions),
        "parameters": sum(parameter.numel() for parameter in create_model(name).parameters()),
        "weights": [path.name for path in weight_files(name)] or None,
        "stand_in": stand_in(name),
        "paper": info.paper,
        "spacing_mm": info.default_spacing_mm,
        "licence": info.licence,
    }


def _trained(row: dict[str, object]) -> str:
    if row["stand_in"]:
        return f"those of {row['stand_in']}"
    files = row["weights"]
    return f"{len(files)} stages" if isinstance(files, list) else "none"


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(f"{v}D" if isinstance(v, int) else str(v) for v in value)
    return str(value)
