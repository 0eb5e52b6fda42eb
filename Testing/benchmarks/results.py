"""Measure every trained 3D model and write the page of results: `make results`.

Each part is one or two commands of this folder, whose figures and logs lie in a folder of their own. The page is made
of what those folders hold, so that one part can be measured again without the others (`--only`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from catalogue import OURS, PROJECT, leave_own_models_out, trained_models, weights_of
from methods import PEERS
from results_page import Part, page

HERE = Path(__file__).resolve().parent
PAGE = PROJECT / "Resources" / "results" / "models.md"

Words = list[str | Path]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for and write the page; return 0, or 2 when a part failed."""
    chosen = _parse(arguments)
    if not chosen.own_models:
        leave_own_models_out(chosen.output / "no-models")
    models = {kind: trained_models(kind) for kind in ("deformable", "rigid")}
    failed = []
    for name in chosen.only:
        commands = PARTS[name](chosen, [row["name"] for row in models["deformable"]])
        shutil.rmtree(chosen.output / name, ignore_errors=True)  # nothing of an earlier run may get onto the page
        if not commands:
            print(f"{name}: there is no trained model for it", flush=True)
        elif not _measured(name, commands, chosen.output / name):
            failed.append(name)
    rows = [row | {"sha256": weights_of(row["name"])} for of in models.values() for row in of]
    parts = {name: part for name in PARTS if (part := _read(chosen.output / name)) is not None}
    chosen.page.parent.mkdir(parents=True, exist_ok=True)
    picture = chosen.output / "head-start" / "head_start.png"
    if picture.is_file():
        shutil.copyfile(picture, chosen.page.parent / picture.name)
    chosen.page.write_text(page(rows, parts), encoding="utf-8")
    print(f"written: {chosen.page}")
    if failed:
        sys.stderr.write(f"results: failed: {', '.join(failed)}; the page says that they are not measured yet\n")
    return 2 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="*", choices=PARTS, default=list(PARTS), help="nothing after it: the page alone"
    )
    parser.add_argument("--brain-model", default="pan-brain", help="of the head start (default: %(default)s)")
    parser.add_argument("--any-model", default="pan-any", help="of the part on other anatomy (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=40, help="per prostate case (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=8, help="of held-out brains (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--own-models", action="store_true", help="measure models that you have imported too")
    parser.add_argument("-o", "--output", type=Path, default=PROJECT / "bench" / "results", help="for figures and logs")
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args(arguments)


def _ours(script: str, folder: Path, chosen: argparse.Namespace, *words: str | Path) -> Words:
    return [OURS / "python", HERE / script, *words, "-o", folder, "--threads", str(chosen.threads)]


def _whole(chosen: argparse.Namespace, folder: Path, *words: str) -> Words:
    own = ["--own-models"] if chosen.own_models else []
    return [PEERS, HERE / "run_bench.py", *words, *own, "-o", folder, "--threads", str(chosen.threads)]


def _brain(chosen: argparse.Namespace, models: list[str]) -> list[Words]:
    return [_whole(chosen, chosen.output / "brain")]


def _contrast(chosen: argparse.Namespace, models: list[str]) -> list[Words]:
    both = [f"{model}-{how}" for model in models for how in ("alone", "refined")]
    folder = chosen.output / "contrast"
    return [
        _whole(chosen, folder / "plain", "--only", "regcore", *both),
        _whole(chosen, folder / "inverted", "--inverted", "--only", "regcore", *both),
    ]


def _head_start(chosen: argparse.Namespace, models: list[str]) -> list[Words]:
    commands = _of_one("head_start.py", "head-start", chosen, chosen.brain_model, models)
    return [["env", "OMP_WAIT_POLICY=PASSIVE", *words] for words in commands]  # as the programs have it


def _any_anatomy(chosen: argparse.Namespace, models: list[str]) -> list[Words]:
    return _of_one("never_worse.py", "any-anatomy", chosen, chosen.any_model, models)


def _of_one(script: str, name: str, chosen: argparse.Namespace, model: str, models: list[str]) -> list[Words]:
    return [_ours(script, chosen.output / name, chosen, model)] if model in models else []


def _held_out(chosen: argparse.Namespace, models: list[str]) -> list[Words]:
    words = [*models, "--pairs", str(chosen.pairs)]
    return [_ours("held_out_brains.py", chosen.output / "held-out", chosen, *words)] if models else []


def _prostate(chosen: argparse.Namespace, models: list[str]) -> list[Words]:
    folder = chosen.output / "prostate"
    figures = ["--json", folder / "mri_trus.json", "--starts", str(chosen.starts), "--threads", str(chosen.threads)]
    return [[OURS / "python", HERE / "mri_trus.py", *figures], _ours("mri_trus_cost.py", folder, chosen)]


PARTS: dict[str, Callable[[argparse.Namespace, list[str]], list[Words]]] = {
    "brain": _brain,
    "contrast": _contrast,
    "head-start": _head_start,
    "held-out": _held_out,
    "any-anatomy": _any_anatomy,
    "prostate": _prostate,
}


def _measured(name: str, commands: Sequence[Words], folder: Path) -> bool:
    """Run the commands of a part and note how they were run; whether all went well."""
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands:
        print(f"{name}: {_shown(command)}", flush=True)
        if subprocess.run(command, cwd=PROJECT).returncode != 0:
            return False
    record = {
        "commands": [_shown(command) for command in commands],
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {package: version(package) for package in ("torch", "SimpleITK", "numpy")},
    }
    (folder / "run.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return True


def _shown(command: Words) -> str:
    """Return the command without the paths of this computer."""
    return " ".join(
        Path(word).name if isinstance(word, Path) and OURS in word.parents else _relative(word) for word in command
    )


def _relative(word: str | Path) -> str:
    if not isinstance(word, Path):
        return word
    return str(word.relative_to(PROJECT)) if word.is_relative_to(PROJECT) else word.name


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        for line in cpus.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(folder: Path) -> Part | None:
    """Return what a part left behind; None: it has not run, or not to its end."""
    if not (folder / "run.json").is_file():
        return None
    files = {str(path.relative_to(folder)): path for path in (*folder.glob("*.json"), *folder.glob("*/results.json"))}
    figures: dict[str, Any] = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return Part(figures.pop("run.json"), figures)


if __name__ == "__main__":
    sys.exit(main())
