"""`regcore models`: the networks there are, those that come with the package and the user's own."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from regcore.models import Provenance, create_model, list_models, model_info
from regcore.models._checkpoint import read_checkpoint
from regcore.weights import (
    all_models,
    card,
    check_name,
    find_model,
    import_model,
    import_stages,
    load_trained,
    network_of,
    stand_in,
    stored,
    stored_models,
    user_models,
    weight_files,
)

HELP = "list the networks, show one, or import a model file"


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(description="List the networks, show what is known of one, or import a model file.")
    made.add_argument(
        "action", type=Literal["list", "show", "import"], nargs="?", default="list", help="list (default), show, import"
    )
    made.add_argument(
        "subject", type=str, nargs="*", default=[], help="the model to show; the file to import, or one per stage"
    )
    made.add_argument("--name", type=str | None, default=None, help="of an imported model; default: the file's name")
    made.add_argument(
        "--stage", type=int | None, default=None, help="of an imported network, where several run in turn"
    )
    made.add_argument("--replace", action="store_true", help="an imported model takes the place of one of its name")
    made.add_argument("--json", action="store_true", help="as JSON")
    return made


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    if chosen.action != "import" and (chosen.name is not None or chosen.stage is not None or chosen.replace):
        raise ValueError("name, stage, replace: they are options of `regcore models import FILE`")
    if len(chosen.subject) > 1 and chosen.action != "import":
        raise ValueError(f"name: expected one at most, got {' '.join(chosen.subject)}")
    {"list": _list, "show": _show, "import": _import}[chosen.action](chosen)


def _list(chosen: Namespace) -> None:
    rows = [_row(name) for name in sorted({*list_models(), *stored_models()})]
    if chosen.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.write(
        f"{'name':27}{'kind':12}{'dimensions':12}{'parameters':>12}  {'weights':36}{'from':9}paper\n",
    )
    for row in rows:
        if row["problem"]:
            sys.stdout.write(f"{row['name']:27}cannot be used: {row['problem']}\n")
            continue
        sys.stdout.write(
            f"{row['name']:27}{row['kind']:12}{_text(row['dimensions']):12}{row['parameters']:>12,}  "
            f"{_trained(row):36}{row['source'] or '-':9}{row['paper']}\n"
        )


def _show(chosen: Namespace) -> None:
    if not chosen.subject:
        raise ValueError(f"name: which network? There are {', '.join(all_models())}")
    (name,) = chosen.subject
    known, files = _known(name), [_file(path) for path in weight_files(name)]
    text = card(stand_in(name) or name)
    if chosen.json:
        sys.stdout.write(json.dumps(known | {"files": files, "card": text}, indent=2) + "\n")
        return
    sys.stdout.write("".join(f"{key:14}{_text(value)}\n" for key, value in known.items()))
    for file in files:
        sys.stdout.write(f"\n{file['file']}\n")
        sys.stdout.write(
            "".join(f"  {key:14}{_text(value)}\n" for key, value in file.items() if value and key != "file")
        )
    sys.stdout.write(f"\n{text}" if text else "")


def _import(chosen: Namespace) -> None:
    files = [Path(file) for file in chosen.subject]
    if not files:
        raise ValueError("file: which model file is to be imported?")
    if len(files) > 1 and chosen.stage is not None:
        raise ValueError("stage: of several files each is the stage of its place; leave this option out")
    if len(files) > 1:
        imported = import_stages(files, chosen.name, chosen.replace)
    else:
        imported = import_model(files[0], chosen.name, chosen.stage, chosen.replace)
    row = _known(imported.name)
    if chosen.json:
        sys.stdout.write(json.dumps(row | {"files": [str(path) for path in imported.paths]}, indent=2) + "\n")
        return
    sys.stdout.write(
        f"{imported.name}: {row['kind']}, {_text(row['dimensions'])}, {row['parameters']:,} parameters, "
        f"network {row['network']}, {_trained(row)}, for voxels of {row['spacing_mm']} mm\n"
        f"now at {', '.join(map(str, imported.paths))}\n"
    )


def _row(name: str) -> dict[str, object]:
    """Return what is known of a model; of one whose files cannot be used, why."""
    try:
        if name not in list_models():
            check_name(name)
        return _known(name) | {"problem": None}
    except ValueError as error:
        info = model_info(name) if name in list_models() else None
        return {
            "name": name,
            "kind": info and info.kind,
            "dimensions": list(info.dimensions) if info else [],
            "parameters": None,
            "weights": None,
            "stand_in": None,
            "paper": info and info.paper,
            "spacing_mm": info and info.default_spacing_mm,
            "licence": info and info.licence,
            "network": info and info.name,
            "source": "user" if name in user_models() else "package",
            "problem": " ".join(str(error).split()),
        }


def _known(name: str) -> dict[str, object]:
    """Return what is known of a model, its weights read and checked."""
    info, found = find_model(name), stored(name)
    network = load_trained(name).networks[0] if found else create_model(name)
    return {
        "name": info.name,
        "kind": info.kind,
        "dimensions": list(info.dimensions),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "weights": [path.name for path in found.files] if found else None,
        "stand_in": stand_in(name),
        "paper": info.paper,
        "spacing_mm": info.default_spacing_mm,
        "licence": info.licence,
        "network": network_of(name),
        "source": found.source if found else None,
    }


def _file(path: Path) -> dict[str, object]:
    """Return what a model file says of its training."""
    checkpoint = read_checkpoint(path)
    said = {part.name: getattr(checkpoint.provenance, part.name) for part in fields(Provenance)}
    found = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "normalisation": checkpoint.normalisation,
        "options": dict(checkpoint.recipe.options),
        **said,
    }
    return found | {key: value for key, value in checkpoint.notes.items() if key not in found}


def _trained(row: dict[str, object]) -> str:
    if row["stand_in"]:
        return f"those of {row['stand_in']}"
    files = row["weights"]
    if not isinstance(files, list):
        return "none"
    return "1 stage" if len(files) == 1 else f"{len(files)} stages"


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, tuple):
        return " x ".join(map(str, value))
    if isinstance(value, list):
        return ", ".join(f"{v}D" if isinstance(v, int) else str(v) for v in value)
    return str(value)
